/* Products of a few rows with a packed matrix.
 *
 * A BLAS packs its right factor in every call and is made for large left ones. Here a weight is
 * packed once for all time steps, and the loops multiply 8 to 64 rows at a time with it: at 8 rows
 * this is 1.5 times as fast as MKL, at 256 rows the same.
 */
#ifndef LAWM_PRODUCT_H
#define LAWM_PRODUCT_H
#include <stdint.h>

static inline int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }

/* c (m, n) = init + a (m, k) b, b packed; init is NULL, or a row for each of c's, or with a stride
 * of 0 one for all; it may be c itself. */
void lawm_product(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
                  const float *init, int64_t init_stride, float *c, int64_t ldc);

#if defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512BF16__)
#define LAWM_BF16 1
#else
#define LAWM_BF16 0
#endif

/* The same with both factors rounded to bfloat16, b packed by lawm_pack_weight_bf16. */
void lawm_product_bf16(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
                       const float *init, int64_t init_stride, float *c, int64_t ldc);

/* Pack a weight (outputs, inputs) with rows `stride` apart for both directions; each takes what
 * lawm_packed_size says of half as many rows, rounded up. `rounded` has room for the weight with an
 * even number of columns. */
void lawm_pack_weight_bf16(int64_t inputs, int64_t outputs, int64_t stride, const float *weight,
                           uint16_t *rounded, float *forward, float *backward);

/* out (outputs, inputs) = dy (rows, outputs)' x (rows, inputs), both factors rounded to bfloat16.
 * Returns 0, or 1 if memory ran out. */
int lawm_weight_gradient_bf16(int64_t threads, int64_t rows, int64_t outputs, int64_t inputs,
                              const float *dy, int64_t ldy, const float *x, int64_t ldx, float *out,
                              int64_t ldo);

/* The same in two steps: m rows of the factors, from row `first`, which is even, rounded into room
 * for (rows + 1) / 2 pairs of each column, columns of x as lawm_packed_size says; then one of
 * `parts` parts of out. */
void lawm_pair_outputs(int64_t first, int64_t m, int64_t cols, const float *dy, int64_t ldy,
                       float *pairs);
void lawm_pair_inputs(int64_t rows, int64_t first, int64_t m, int64_t cols, const float *x,
                      int64_t ldx, float *pairs);
void lawm_gradient_of_pairs(int64_t part, int64_t parts, int64_t rows, int64_t outputs,
                            int64_t inputs, const float *dy, const float *x, float *out,
                            int64_t ldo);

/* Pack b (k, n) whose element (i, j) stands at b[i * row + j * col]; one of both is 1. */
void lawm_pack(int64_t k, int64_t n, const float *b, int64_t row, int64_t col, float *to);

/* Floats that a packed matrix (k, n) takes. */
int64_t lawm_packed_size(int64_t k, int64_t n);
#endif
