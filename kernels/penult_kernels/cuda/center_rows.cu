// Widen, center and weight rows in one pass over memory:
//
//   out[r, c] = (rows[r, c] - mean[c]) * root_weights[r]
//
// Three array operations (convert, subtract, multiply) would read and write the widened rows three times over.
//
//   rows          (n_rows, n_features) row-major, float or double
//   mean          (n_features,) double
//   root_weights  (n_rows,) double, or a null pointer for ones
//   out           (n_rows, n_features) row-major, float or double
//
// A thread takes one column and every (blockDim.y * gridDim.y)-th row: neighbouring threads read neighbouring values
// and the mean stays in a register. The difference is taken in double whatever is stored, so that a distant mean
// loses nothing.

template <typename Stored, typename Product>
__device__ void center_rows(
    const Stored* rows,
    const double* mean,
    const double* root_weights,
    Product* out,
    const long long n_rows,
    const long long n_features)
{
    const long long column = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (column >= n_features) {
        return;
    }
    const double center = mean[column];
    const long long step = static_cast<long long>(gridDim.y) * blockDim.y;
    for (long long row = static_cast<long long>(blockIdx.y) * blockDim.y + threadIdx.y; row < n_rows; row += step) {
        const long long place = row * n_features + column;
        const double difference = static_cast<double>(rows[place]) - center;
        out[place] = static_cast<Product>(root_weights ? difference * root_weights[row] : difference);
    }
}

#define CENTER_ROWS(NAME, STORED, PRODUCT)                                                                             \
    extern "C" __global__ void NAME(                                                                                   \
        const STORED* rows, const double* mean, const double* root_weights, PRODUCT* out, const long long n_rows,      \
        const long long n_features)                                                                                    \
    {                                                                                                                  \
        center_rows<STORED, PRODUCT>(rows, mean, root_weights, out, n_rows, n_features);                               \
    }

CENTER_ROWS(center_rows_float32_float32, float, float)
CENTER_ROWS(center_rows_float32_float64, float, double)
CENTER_ROWS(center_rows_float64_float32, double, float)
CENTER_ROWS(center_rows_float64_float64, double, double)
