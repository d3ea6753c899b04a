/* Layers on a block of rows. Arrays of all time steps are (T rows, .); `at` is the first row of the
 * block among them. What only the gradients of a layer's own parameters need is NULL where these
 * are not wanted, and then passes through the caller's working memory; where an earlier call wanted
 * them it may stand there still, but for `gradients`. */
#ifndef LAWM_LAYERS_H
#define LAWM_LAYERS_H
#include <stdlib.h>

#include "arithmetic.h"
#include "product.h"
#include "rounding.h"

#define MAX_LAYERS 8

typedef struct { /* x W' + bias */
  int64_t inputs, outputs, bf16; /* bf16: multiplied in bfloat16, and packed for that */
  int64_t stride;
  const float *weight;       /* W (outputs, inputs), its rows `stride` apart */
  uint16_t *rounded;         /* bf16: room for W with an even number of columns */
  float *forward, *backward; /* room for W' and W, packed by pack_all */
  const float *bias;
  float *x_pairs, *dy_pairs;       /* room for the factors of the gradient in bfloat16, or NULL */
  float *gradient, *bias_gradient; /* left by mlp_gradients where they are not NULL */
} Linear;

typedef struct { /* SiLU(LayerNorm(x W' + bias)), with dropout behind it */
  Linear linear;
  double eps;
  const float *gamma, *beta;
  void *normed; /* x W' + bias, normed: float32, or bfloat16 where it is multiplied in that */
  float *rstd;  /* of each row: 1 over its standard deviation */
  float *out, *dy;
  float *sums, *gradients; /* of scale, shift and bias: (blocks, 3, outputs), and their sum */
  Dropout dropout;
} Layer;

typedef struct { /* a GRU cell with one layer norm over all gates */
  Linear of_x, of_h;
  double eps;
  const float *gamma, *beta;
  void *normed; /* and rstd, as a layer's */
  float *rstd;
  float *dy, *sums, *gradients;
} Cell;

typedef struct {
  int64_t layers;
  Layer layer[MAX_LAYERS];
  Linear output;
} Mlp;

static inline void pack(const Linear *l) {
#if LAWM_BF16
  if (l->bf16) {
    lawm_pack_weight_bf16(l->inputs, l->outputs, l->stride, l->weight, l->rounded, l->forward,
                          l->backward);
    return;
  }
#endif
  lawm_pack(l->inputs, l->outputs, l->weight, 1, l->stride, l->forward);
  lawm_pack(l->outputs, l->inputs, l->weight, l->stride, 1, l->backward);
}

/* Pack the weights that a forward pass and its backward pass multiply with. */
static inline void pack_all(const Linear *const *of, int count, int64_t threads) {
#pragma omp parallel for schedule(dynamic, 1) num_threads((int)min_of(count, threads))
  for (int n = 0; n < count; n++)
    if (of[n]->outputs > 0) pack(of[n]);
}

static inline void product(int64_t bf16, int64_t m, int64_t n, int64_t k, const float *a,
                           int64_t lda, const float *b, const float *init, int64_t init_stride,
                           float *c, int64_t ldc) {
#if LAWM_BF16
  if (bf16) {
    lawm_product_bf16(m, n, k, a, lda, b, init, init_stride, c, ldc);
    return;
  }
#endif
  (void)bf16;
  lawm_product(m, n, k, a, lda, b, init, init_stride, c, ldc);
}

static inline void linear_forward(const Linear *l, int64_t m, const float *x, int64_t ldx,
                                  float *out) {
  product(l->bf16, m, l->outputs, l->inputs, x, ldx, l->forward, l->bias, 0, out, l->outputs);
}

/* dx = dy W, or dx += dy W */
static inline void linear_backward(const Linear *l, int64_t m, const float *dy, float *dx,
                                   int64_t ldx, int adds) {
  product(l->bf16, m, l->inputs, l->outputs, dy, l->outputs, l->backward, adds ? dx : NULL, ldx, dx,
          ldx);
}

/* Where a row of what is normed is computed: where it stays, or in bfloat16 in working memory. */
static inline float *row_of(int64_t bf16, void *normed, int64_t at, float *work) {
  return bf16 ? work : (float *)normed + at;
}

/* Norm a row in place, and keep it for the backward pass. */
static inline void norm_row(int64_t bf16, float *y, int64_t cols, double eps, void *normed,
                            int64_t at, float *rstd) {
  *rstd = normalise(y, cols, (float)eps, y);
  if (bf16) round_row(cols, y, cols, (uint16_t *)normed + at);
}

/* A row that was kept; in bfloat16 it passes through `work`. */
static inline const float *kept_row(int64_t bf16, const void *normed, int64_t at, int64_t cols,
                                    float *work) {
  if (!bf16) return (const float *)normed + at;
  widen_row(cols, (const uint16_t *)normed + at, work);
  return work;
}

/* Returns the output, (m, outputs). With `offset`, its rows take the place of the bias. */
static inline const float *layer_forward(const Layer *l, int64_t at, int64_t m, const float *x,
                                         int64_t ldx, const float *offset, float *work) {
  const int64_t cols = l->linear.outputs, bf16 = l->linear.bf16;
  float *out = l->out ? l->out + at * cols : work, *y = row_of(bf16, l->normed, at * cols, out);
  product(bf16, m, cols, l->linear.inputs, x, ldx, l->linear.forward,
          offset ? offset : l->linear.bias, offset ? cols : 0, y, cols);
  for (int64_t i = 0; i < m; i++) {
    norm_row(bf16, y + i * cols, cols, l->eps, l->normed, (at + i) * cols, l->rstd + at + i);
    scaled_silu(y + i * cols, l->gamma, l->beta, cols, out + i * cols);
    if (l->dropout.drops) drop(&l->dropout, (at + i) * cols, cols, out + i * cols, out + i * cols);
  }
  return out;
}

/* Returns the gradient of x W' + bias, (m, outputs); dout must not be `work`. */
static inline const float *layer_backward(const Layer *l, int64_t at, int64_t m, int64_t block,
                                          const float *dout, float *work) {
  const int64_t cols = l->linear.outputs;
  float *dy = l->dy ? l->dy + at * cols : work, row[cols];
  float *sums = l->sums ? l->sums + block * 3 * cols : NULL;
  for (int64_t i = 0; i < m; i++) {
    const float *normed = kept_row(l->linear.bf16, l->normed, (at + i) * cols, cols, row);
    const float *d = dout + i * cols;
    if (l->dropout.drops) {
      drop(&l->dropout, (at + i) * cols, cols, d, dy + i * cols);
      d = dy + i * cols;
    }
    norm_silu_backward(normed, l->rstd[at + i], l->gamma, l->beta, cols, d, dy + i * cols, sums);
  }
  return dy;
}

/* `work` holds m rows of all gates; x must not be there. */
static inline void cell_forward(const Cell *l, int64_t at, int64_t m, const float *x,
                                const float *h, int64_t ldh, float *out, int64_t ldo, float *work) {
  const int64_t size = l->of_h.inputs, cols = 3 * size, bf16 = l->of_h.bf16;
  float *y = row_of(bf16, l->normed, at * cols, work);
  product(bf16, m, cols, l->of_x.inputs, x, l->of_x.inputs, l->of_x.forward, NULL, 0, y, cols);
  product(bf16, m, cols, size, h, ldh, l->of_h.forward, y, cols, y, cols);
  for (int64_t i = 0; i < m; i++) {
    norm_row(bf16, y + i * cols, cols, l->eps, l->normed, (at + i) * cols, l->rstd + at + i);
    gru(y + i * cols, h + i * ldh, l->gamma, l->beta, size, out + i * ldo);
  }
}

/* dx (m, inputs) is written, dh gains the gradient of h; `whole` also what comes through the gates. */
static inline void cell_backward(const Cell *l, int64_t at, int64_t m, int64_t block,
                                 const float *h, int64_t ldh, const float *dout, int64_t ldo,
                                 float *dx, float *dh, int64_t lddh, int whole, float *work) {
  const int64_t size = l->of_h.inputs, cols = 3 * size;
  float *dy = l->dy ? l->dy + at * cols : work, row[cols];
  float *sums = l->sums ? l->sums + block * 3 * cols : NULL;
  for (int64_t i = 0; i < m; i++)
    gru_backward(kept_row(l->of_h.bf16, l->normed, (at + i) * cols, cols, row), l->rstd[at + i],
                 h + i * ldh, l->gamma, l->beta, size, dout + i * ldo, dy + i * cols, dh + i * lddh,
                 sums);
  if (whole) linear_backward(&l->of_h, m, dy, dh, lddh, 1);
  linear_backward(&l->of_x, m, dy, dx, l->of_x.inputs, 0);
}

/* Keep m of all rows of the input, or of the output's gradient, for the weight's gradient. */
static inline void keep_input(const Linear *l, int64_t rows, int64_t at, int64_t m, const float *x,
                              int64_t ldx) {
#if LAWM_BF16
  if (l->x_pairs) lawm_pair_inputs(rows, at, m, l->inputs, x, ldx, l->x_pairs);
#endif
  (void)l, (void)rows, (void)at, (void)m, (void)x, (void)ldx;
}

static inline void keep_output(const Linear *l, int64_t at, int64_t m, const float *dy) {
#if LAWM_BF16
  if (l->dy_pairs) lawm_pair_outputs(at, m, l->outputs, dy, l->outputs, l->dy_pairs);
#endif
  (void)l, (void)at, (void)m, (void)dy;
}

/* out (m, outputs), of `rows` in all; `work` holds two blocks of the widest layer, `half` apart.
 * `offset` is that of the first layer. Without an output layer the last layer's output is the
 * result. */
static inline void mlp_forward(const Mlp *l, int64_t rows, int64_t at, int64_t m, const float *x,
                               int64_t ldx, const float *offset, float *out, float *work,
                               int64_t half) {
  for (int64_t n = 0; n < l->layers; n++) {
    if (n > 0) keep_input(&l->layer[n].linear, rows, at, m, x, ldx);
    x = layer_forward(&l->layer[n], at, m, x, ldx, n == 0 ? offset : NULL, work + (n % 2) * half);
    ldx = l->layer[n].linear.outputs;
  }
  if (l->output.outputs == 0) return;
  if (l->layers > 0) keep_input(&l->output, rows, at, m, x, ldx);
  linear_forward(&l->output, m, x, ldx, out);
}

/* dx += its gradient; nothing where dx is NULL. */
static inline void mlp_backward(const Mlp *l, int64_t at, int64_t m, int64_t block,
                                const float *dout, float *dx, int64_t lddx, float *work,
                                int64_t half) {
  const float *d = dout;
  if (l->output.outputs > 0) keep_output(&l->output, at, m, dout);
  if (l->layers == 0) {
    if (dx) linear_backward(&l->output, m, dout, dx, lddx, 1);
    return;
  }
  if (l->output.outputs > 0) {
    linear_backward(&l->output, m, dout, work, l->output.inputs, 0);
    d = work;
  }
  for (int64_t n = l->layers - 1; n >= 0; n--) {
    const Layer *layer = &l->layer[n];
    const float *dy = layer_backward(layer, at, m, block, d, work + half);
    keep_output(&layer->linear, at, m, dy);
    if (n > 0)
      linear_backward(&layer->linear, m, dy, work, layer->linear.inputs, 0);
    else if (dx)
      linear_backward(&layer->linear, m, dy, dx, lddx, 1);
    d = work;
  }
}

/* Write where the layers of an MLP are; returns how many that are, at most MAX_LAYERS + 1. */
static inline int linears_of(const Mlp *l, const Linear **to) {
  for (int64_t n = 0; n < l->layers; n++) to[n] = &l->layer[n].linear;
  to[l->layers] = &l->output;
  return (int)l->layers + 1;
}

static inline int team_of(int64_t blocks, int64_t threads) {
  return (int)max_of(1, min_of(blocks, threads));
}
#endif
