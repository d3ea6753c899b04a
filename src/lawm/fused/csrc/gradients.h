/* Gradients of parameters, from what the blocks of rows left. */
#ifndef LAWM_GRADIENTS_H
#define LAWM_GRADIENTS_H
#include "layers.h"

static inline void clear_sums(float *sums, int64_t block, int64_t cols) {
  if (sums) memset(sums + block * 3 * cols, 0, (size_t)(3 * cols) * sizeof(float));
}

/* The sums of all blocks together, in their order; nothing where no total is wanted. */
static inline void add_blocks(const float *sums, int64_t blocks, int64_t cols, float *total) {
  if (!sums || !total) return;
  memset(total, 0, (size_t)(3 * cols) * sizeof(float));
  for (int64_t b = 0; b < blocks; b++)
    for (int64_t j = 0; j < 3 * cols; j++) total[j] += sums[b * 3 * cols + j];
}

static inline void clear_mlp_sums(const Mlp *l, int64_t block) {
  for (int64_t n = 0; n < l->layers; n++)
    clear_sums(l->layer[n].sums, block, l->layer[n].linear.outputs);
}

/* to (cols) = the sum of all rows, of runs of rows first: less is lost to rounding. */
static inline void sum_rows(int64_t threads, int64_t rows, int64_t cols, const float *x,
                            float *to) {
#pragma omp parallel for schedule(static) num_threads(threads_for(rows * cols, threads))
  for (int64_t first = 0; first < cols; first += LANES) {
    const int64_t some = min_of(LANES, cols - first);
    float total[LANES] = {0};
    for (int64_t i = 0; i < rows; i += LANES) {
      float run[LANES] = {0};
      for (int64_t r = i; r < min_of(i + LANES, rows); r++)
        for (int64_t j = 0; j < some; j++) run[j] += x[r * cols + first + j];
      for (int64_t j = 0; j < some; j++) total[j] += run[j];
    }
    memcpy(to + first, total, (size_t)some * sizeof(float));
  }
}

/* Of an MLP's parameters, where they are wanted: those of norms and biases, from the gradient d_out
 * of all rows and the blocks' sums, and those of the weights where pairs were kept. */
static inline void mlp_gradients(const Mlp *l, int64_t threads, int64_t blocks, int64_t rows,
                                 const float *d_out) {
  for (int64_t n = 0; n < l->layers; n++)
    add_blocks(l->layer[n].sums, blocks, l->layer[n].linear.outputs, l->layer[n].gradients);
  if (l->output.bias_gradient)
    sum_rows(threads, rows, l->output.outputs, d_out, l->output.bias_gradient);
#if LAWM_BF16
  const Linear *all[MAX_LAYERS + 1];
  const int count = linears_of(l, all);
#pragma omp parallel for schedule(static) num_threads((int)threads)
  for (int64_t part = 0; part < threads; part++)
    for (int n = 0; n < count; n++)
      if (all[n]->gradient)
        lawm_gradient_of_pairs(part, threads, rows, all[n]->outputs, all[n]->inputs,
                               all[n]->dy_pairs, all[n]->x_pairs, all[n]->gradient,
                               all[n]->inputs);
#endif
}
#endif
