// Enough of CUDA for a C++ compiler to build kernels that use no shared memory; a test calls them thread by thread.
#pragma once
#include <math.h>
#define __global__
#define __device__

struct Index3 {
    unsigned int x, y, z;
};

extern "C" {
Index3 threadIdx, blockIdx, blockDim, gridDim;
}
