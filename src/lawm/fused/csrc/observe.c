/* The filter's loop over time, forward and backward. Rows do not depend on each other: each thread
 * takes blocks of them through all time steps. What is summed over rows is summed by block and not
 * by thread, so that the result does not depend on the number of threads. */
#include "gradients.h"

typedef struct {
  int64_t threads, block, steps, rows, labelled; /* the labelled rows come first */
  int64_t deter, stoch, latent, action;          /* sizes of h, z, u and x */
  double z_min_std, x_gradient;
  Layer posterior, transition, inverse, decoder;
  Cell cell;
  Linear posterior_output, inverse_output, decoder_output;
  const float *embed, *next; /* (T + 1, B, hidden), (T, F, hidden): projected */
  const float *z_noise;      /* (T + 1, B, Z) */
  float *state;              /* (T + 1, B, h z u x); x of the labelled is given */
  float *z_params, *u_params, *decoded;
  float *d_state, *d_z_params, *d_u_params, *d_decoded; /* d_u_params may be NULL: no gradient */
} Observe;

int64_t lawm_observe_size(void) { return sizeof(Observe); }

static int64_t widest(const Observe *o) {
  int64_t cols = 3 * o->deter;
  cols = max_of(cols, o->posterior.linear.outputs);
  cols = max_of(cols, o->transition.linear.outputs);
  cols = max_of(cols, o->inverse.linear.outputs);
  return max_of(cols, o->decoder.linear.outputs);
}

static void infer_action(const Observe *o, int64_t t, int64_t first, int64_t m, float *state,
                         int64_t columns) {
  const int64_t free = o->rows - o->labelled, at = t * free + first - o->labelled;
  const int64_t size = o->deter + o->stoch, with_u = size + o->latent;
  const int64_t hidden = o->decoder.linear.outputs;
  const float *out =
      layer_forward(&o->inverse, at, m, state, columns, o->next + at * o->inverse.linear.outputs,
                    NULL);
  float *params = o->u_params + at * 2 * o->latent, *action = o->decoded + at * o->action;
  linear_forward(&o->inverse_output, m, out, o->inverse.linear.outputs, params);
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < o->latent; j++) /* the mean, which leads the parameters */
      state[i * columns + size + j] = params[i * 2 * o->latent + j];
  out = layer_forward(&o->decoder, at, m, state, columns, NULL, NULL);
  linear_forward(&o->decoder_output, m, out, hidden, action);
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < o->action; j++) {
      const float a = tanh_of(action[i * o->action + j]);
      action[i * o->action + j] = state[i * columns + with_u + j] = a;
    }
}

static void infer_action_backward(const Observe *o, int64_t t, int64_t first, int64_t m,
                                  int64_t block, float *d_state, int64_t columns, float *work,
                                  int64_t half) {
  const int64_t free = o->rows - o->labelled, at = t * free + first - o->labelled;
  const int64_t size = o->deter + o->stoch, with_u = size + o->latent;
  const int64_t hidden = o->decoder.linear.outputs;
  float *d_params = o->d_u_params + at * 2 * o->latent;
  if (o->x_gradient != 0.0) {
    const float *action = o->decoded + at * o->action;
    float *d_action = o->d_decoded + at * o->action;
    for (int64_t i = 0; i < m; i++)
      for (int64_t j = 0; j < o->action; j++) {
        const float a = action[i * o->action + j];
        d_action[i * o->action + j] =
            (float)o->x_gradient * d_state[i * columns + with_u + j] * (1.0f - a * a);
      }
    linear_backward(&o->decoder_output, m, d_action, work, hidden, 0);
    const float *dy = layer_backward(&o->decoder, at, m, block, work, NULL);
    linear_backward(&o->decoder.linear, m, dy, d_state, columns, 1);
    for (int64_t i = 0; i < m; i++)
      for (int64_t j = 0; j < o->latent; j++)
        d_params[i * 2 * o->latent + j] += d_state[i * columns + size + j];
  }
  linear_backward(&o->inverse_output, m, d_params, work, o->inverse.linear.outputs, 0);
  const float *dy = layer_backward(&o->inverse, at, m, block, work, work + half);
  linear_backward(&o->inverse.linear, m, dy, d_state, columns, 1);
}

static void forward_block(const Observe *o, int64_t first, int64_t m, float *work) {
  const int64_t with_u = o->deter + o->stoch + o->latent, columns = with_u + o->action;
  const int64_t free = max_of(first, o->labelled), num_free = first + m - free;
  for (int64_t t = 0; t <= o->steps; t++) {
    const int64_t at = t * o->rows + first, hidden = o->posterior.linear.outputs;
    float *state = o->state + at * columns, *params = o->z_params + at * 2 * o->stoch;
    const float *out =
        layer_forward(&o->posterior, at, m, state, columns, o->embed + at * hidden, NULL);
    linear_forward(&o->posterior_output, m, out, hidden, params);
    for (int64_t i = 0; i < m; i++)
      gaussian(params + i * 2 * o->stoch, o->z_noise + (at + i) * o->stoch, o->stoch,
               (float)o->z_min_std, state + i * columns + o->deter);
    if (t == o->steps) break;
    if (num_free > 0)
      infer_action(o, t, free, num_free, o->state + (t * o->rows + free) * columns, columns);
    out = layer_forward(&o->transition, at, m, state + o->deter, columns, NULL, NULL);
    cell_forward(&o->cell, at, m, out, state, columns, state + o->rows * columns, columns, work);
  }
}

static void backward_block(const Observe *o, int64_t first, int64_t m, int64_t block, float *work) {
  const int64_t half = m * widest(o), with_u = o->deter + o->stoch + o->latent;
  const int64_t columns = with_u + o->action;
  const int64_t free = max_of(first, o->labelled), num_free = first + m - free;
  for (int64_t t = o->steps; t >= 0; t--) {
    const int64_t at = t * o->rows + first;
    float *d_state = o->d_state + at * columns, *d_params = o->d_z_params + at * 2 * o->stoch;
    if (t < o->steps) {
      cell_backward(&o->cell, at, m, block, o->state + at * columns, columns,
                    d_state + o->rows * columns, columns, work, d_state, columns, 1, work + half);
      const float *dy = layer_backward(&o->transition, at, m, block, work, work + half);
      linear_backward(&o->transition.linear, m, dy, d_state + o->deter, columns, 1);
      if (num_free > 0 && o->d_u_params)
        infer_action_backward(o, t, free, num_free, block,
                              o->d_state + (t * o->rows + free) * columns, columns, work, half);
    }
    for (int64_t i = 0; i < m; i++)
      gaussian_backward(o->z_params + (at + i) * 2 * o->stoch, o->z_noise + (at + i) * o->stoch,
                        o->stoch, d_state + i * columns + o->deter, d_params + i * 2 * o->stoch);
    linear_backward(&o->posterior_output, m, d_params, work, o->posterior.linear.outputs, 0);
    const float *dy = layer_backward(&o->posterior, at, m, block, work, work + half);
    linear_backward(&o->posterior.linear, m, dy, d_state, columns, 1);
  }
}

/* Returns 0, or 1 if memory ran out. */
int lawm_observe_forward(const Observe *o) {
  const Linear *all[] = {&o->posterior.linear, &o->transition.linear, &o->inverse.linear,
                         &o->decoder.linear,   &o->cell.of_x,         &o->cell.of_h,
                         &o->posterior_output, &o->inverse_output,    &o->decoder_output};
  pack_all(all, sizeof(all) / sizeof(*all), o->threads);
  const int64_t blocks = (o->rows + o->block - 1) / o->block;
  int failed = 0;
#pragma omp parallel for schedule(static, 1) num_threads(team_of(blocks, o->threads)) \
    reduction(| : failed)
  for (int64_t b = 0; b < blocks; b++) {
    const int64_t m = min_of(o->block, o->rows - b * o->block);
    float *work = malloc((size_t)(m * 3 * o->deter) * sizeof(float));
    if (work) forward_block(o, b * o->block, m, work);
    failed |= !work;
    free(work);
  }
  return failed;
}

/* Turns the gradients of the outputs, in place, into those of all states. Returns 0, or 1 if memory
 * ran out. */
int lawm_observe_backward(const Observe *o) {
  const int64_t blocks = (o->rows + o->block - 1) / o->block;
  const Layer *layers[] = {&o->posterior, &o->transition, &o->inverse, &o->decoder};
  int failed = 0;
#pragma omp parallel for schedule(static, 1) num_threads(team_of(blocks, o->threads)) \
    reduction(| : failed)
  for (int64_t b = 0; b < blocks; b++) {
    const int64_t m = min_of(o->block, o->rows - b * o->block);
    float *work = malloc((size_t)(2 * m * widest(o)) * sizeof(float));
    for (int n = 0; n < 4; n++) clear_sums(layers[n]->sums, b, layers[n]->linear.outputs);
    clear_sums(o->cell.sums, b, 3 * o->deter);
    if (work) backward_block(o, b * o->block, m, b, work);
    failed |= !work;
    free(work);
  }
  for (int n = 0; n < 4; n++)
    add_blocks(layers[n]->sums, blocks, layers[n]->linear.outputs, layers[n]->gradients);
  add_blocks(o->cell.sums, blocks, 3 * o->deter, o->cell.gradients);
  return failed;
}
