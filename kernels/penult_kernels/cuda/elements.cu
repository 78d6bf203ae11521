// Functions of the elements that `penult_kernels.elements` computes by one launch on a GPU. Each is applied to the
// elements of its arguments, broadcast against each other; what it gives is its last arguments.

// A binary problem: s (p - t) and s p (1 - p).
template <typename T>
__device__ void binary_derivatives(const T logits, const T weight, const T target, T& residual, T& curvature)
{
    // One exponential of a number that is not positive: nothing overflows.
    const T small = exp(-fabs(logits));
    const T p = (logits >= T(0) ? T(1) : small) / (T(1) + small);
    residual = weight * (p - target);
    curvature = weight * p * (T(1) - p);
}

// A step of a binary problem along a change of its logits: the logits there, s (p - t) and s p (1 - p).
template <typename T>
__device__ void binary_step(
    const T logits, const T change, const T length, const T weight, const T target, T& moved, T& residual, T& curvature)
{
    moved = logits + length * change;
    binary_derivatives<T>(moved, weight, target, residual, curvature);
}

// The length of a trial where it ends near enough to the minimum along its direction, else 0.
template <typename T>
__device__ void trial(
    const T product, const T before, const T derivative, const T stiffness, const T length, T& accepted)
{
    const T there = product + (derivative - before) + length * stiffness;
    accepted = there <= T(0.5) * fabs(derivative) ? length : T(0);
}

// From the squares of what a gradient has outside of a span and within it: the norm of the part outside and its
// inverse, 0 where that part is rounding, and the square of the whole.
template <typename T>
__device__ void new_direction(const T outside, const T within, T& norm, T& scale, T& whole)
{
    whole = outside + within;
    const bool is_new = outside > T(1e-10) * whole;
    norm = is_new ? sqrt(outside) : T(0);
    scale = is_new ? T(1) / norm : T(0);
}

// The bound |gradient|^2 / (2 l2) on a gap, a bias by the curvature of its penalty, or by its own where it is free.
template <typename T>
__device__ void gap(const T of_weights, const T of_bias, const T curvature, const T l2, const T stiffness, T& bound)
{
    const T own = stiffness > T(0) ? stiffness : curvature + T(1e-12);
    bound = T(0.5) * (of_weights / l2 + of_bias * of_bias / own);
}

// a b + c d
template <typename T>
__device__ void two_products(const T a, const T b, const T c, const T d, T& total)
{
    total = a * b + c * d;
}

// By the secant rule: the length where a step is near enough, else 0, and that of the next trial, 1 after a step.
template <typename T>
__device__ void next_length(const T derivative, const T there, const T length, T& taken, T& length_after)
{
    const T down = fabs(derivative);
    const bool is_good = there <= T(0.5) * down;
    const T ratio = down / (there > T(0) ? down + there : T(2) * down + T(1e-30));
    const T cut = ratio > T(0.1) ? (ratio < T(0.5) ? ratio : T(0.5)) : T(0.1);
    taken = is_good ? length : T(0);
    length_after = is_good ? T(1) : length * cut;
}
