/* Imagination's loop over time, forward and backward; only the policy has parameters to train. */
#include "gradients.h"

enum { FREE, BOX, BALL, SPHERE }; /* support constraints */

typedef struct {
  int64_t threads, block, horizon, rows;
  int64_t deter, stoch, latent, action; /* sizes of h, z, u and x */
  int64_t constraint;
  double extent; /* of the constraint's region, in standard deviations of the prior */
  double z_min_std, u_min_std, policy_min_std, policy_max_std, policy_bound;
  Mlp policy, action_prior;
  Layer decoder, transition, prior;
  Cell cell;
  Linear decoder_output, prior_output;
  const float *z_noise, *u_noise; /* (H, N, Z), (H, N, U) */
  float *state;                   /* (H + 1, N, h z u x) */
  float *raw, *u_prior;           /* (H, N, 2 U) each: the networks' outputs; for pairs N is even */
  float *z_params, *decoded;
  float *d_state, *d_raw; /* d_raw comes with the gradient of the output `raw` */
} Imagine;

int64_t lawm_imagine_size(void) { return sizeof(Imagine); }

static int64_t widest(const Imagine *o) {
  int64_t cols = max_of(3 * o->deter, 2 * o->stoch);
  cols = max_of(cols, o->decoder.linear.outputs);
  cols = max_of(cols, o->transition.linear.outputs);
  cols = max_of(cols, o->prior.linear.outputs);
  cols = max_of(cols, o->policy.output.inputs);
  return max_of(cols, o->action_prior.output.inputs);
}

/* v of the policy, and the length that the ball and the sphere divide by. */
static float draw(const Imagine *o, const float *raw, const float *noise, float *restrict v) {
  const float bound = (float)o->policy_bound, least = (float)o->policy_min_std;
  const float range = (float)(o->policy_max_std - o->policy_min_std);
  float square = 1e-6f;
  for (int64_t j = 0; j < o->latent; j++) {
    v[j] = bound * tanh_of(raw[j] / bound) +
           (least + range * sigmoid(raw[o->latent + j])) * noise[j];
    square += v[j] * v[j];
  }
  return sqrtf(square);
}

/* u of one row, from the outputs of the policy and of p(u|s). */
static void choose(const Imagine *o, const float *raw, const float *prior, const float *noise,
                   float *restrict v, float *restrict u) {
  const float length = draw(o, raw, noise, v), extent = (float)o->extent;
  const float factor = (o->constraint == BALL ? tanh_of(length) : 1.0f) / length;
  for (int64_t j = 0; j < o->latent; j++) {
    const float std = softplus(prior[o->latent + j]) + (float)o->u_min_std;
    const float inside = o->constraint == BOX ? tanh_of(v[j]) : v[j] * factor;
    u[j] = o->constraint == FREE ? v[j] : prior[j] + extent * std * inside;
  }
}

/* d_raw gains, d_prior is written. */
static void choose_backward(const Imagine *o, const float *raw, const float *prior,
                            const float *noise, const float *d_u, float *restrict v,
                            float *restrict d_v, float *restrict d_raw, float *restrict d_prior) {
  const int64_t size = o->latent;
  const float length = draw(o, raw, noise, v), extent = (float)o->extent;
  const float squashed = o->constraint == BALL ? tanh_of(length) : 1.0f;
  const float factor = squashed / length;
  float along = 0.0f; /* of d_inside and v */
  for (int64_t j = 0; j < size; j++) {
    const float std = softplus(prior[size + j]) + (float)o->u_min_std;
    const float inside = o->constraint == BOX ? tanh_of(v[j]) : v[j] * factor;
    const float d_inside = extent * std * d_u[j];
    d_prior[j] = d_u[j];
    d_prior[size + j] = extent * inside * d_u[j] * sigmoid(prior[size + j]);
    d_v[j] = o->constraint == BOX ? d_inside * (1.0f - inside * inside) : d_inside * factor;
    along += d_inside * v[j];
  }
  if (o->constraint == BALL || o->constraint == SPHERE) {
    const float slope = o->constraint == BALL ? 1.0f - squashed * squashed : 0.0f;
    const float back = along * (slope - factor) / (length * length);
    for (int64_t j = 0; j < size; j++) d_v[j] += back * v[j];
  }
  if (o->constraint == FREE) memcpy(d_v, d_u, (size_t)size * sizeof(float));
  const float range = (float)(o->policy_max_std - o->policy_min_std);
  for (int64_t j = 0; j < size; j++) {
    const float mean = tanh_of(raw[j] / (float)o->policy_bound), s = sigmoid(raw[size + j]);
    d_raw[j] += d_v[j] * (1.0f - mean * mean);
    d_raw[size + j] += d_v[j] * noise[j] * range * s * (1.0f - s);
  }
}

static void forward_block(const Imagine *o, int64_t first, int64_t m, float *work) {
  const int64_t size = o->deter + o->stoch, with_u = size + o->latent, half = m * widest(o);
  const int64_t columns = with_u + o->action, latent = o->latent;
  for (int64_t t = 0; t < o->horizon; t++) {
    const int64_t at = t * o->rows + first;
    float *state = o->state + at * columns, *next = state + o->rows * columns;
    float *raw = o->raw + at * 2 * latent, *u_prior = o->u_prior + at * 2 * latent;
    float *action = o->decoded + at * o->action, *params = o->z_params + at * 2 * o->stoch;
    mlp_forward(&o->policy, o->horizon * o->rows, at, m, state, columns, NULL, raw, work, half);
    mlp_forward(&o->action_prior, 0, at, m, state, columns, NULL, u_prior, work, half);
    for (int64_t i = 0; i < m; i++)
      choose(o, raw + i * 2 * latent, u_prior + i * 2 * latent, o->u_noise + (at + i) * latent,
             work, state + i * columns + size);
    const float *out = layer_forward(&o->decoder, at, m, state, columns, NULL, work);
    linear_forward(&o->decoder_output, m, out, o->decoder.linear.outputs, action);
    for (int64_t i = 0; i < m; i++)
      for (int64_t j = 0; j < o->action; j++) {
        const float a = tanh_of(action[i * o->action + j]);
        action[i * o->action + j] = state[i * columns + with_u + j] = a;
      }
    out = layer_forward(&o->transition, at, m, state + o->deter, columns, NULL, work);
    cell_forward(&o->cell, at, m, out, state, columns, next, columns, work + half);
    out = layer_forward(&o->prior, at, m, next, columns, NULL, work);
    linear_forward(&o->prior_output, m, out, o->prior.linear.outputs, params);
    for (int64_t i = 0; i < m; i++)
      gaussian(params + i * 2 * o->stoch, o->z_noise + (at + i) * o->stoch, o->stoch,
               (float)o->z_min_std, next + i * columns + o->deter);
  }
}

static void backward_block(const Imagine *o, int64_t first, int64_t m, int64_t block, float *work) {
  const int64_t size = o->deter + o->stoch, with_u = size + o->latent, half = m * widest(o);
  const int64_t columns = with_u + o->action, latent = o->latent;
  float *small = work + 2 * half; /* m max(2 Z, 2 U, A), then 2 U more */
  float *pair = small + m * max_of(2 * max_of(o->stoch, latent), o->action);
  const Linear *into = o->policy.layers > 0 ? &o->policy.layer[0].linear : &o->policy.output;
  clear_mlp_sums(&o->policy, block);
  for (int64_t t = o->horizon - 1; t >= 0; t--) {
    const int64_t at = t * o->rows + first;
    const float *state = o->state + at * columns, *action = o->decoded + at * o->action;
    float *d_state = o->d_state + at * columns, *d_next = d_state + o->rows * columns;
    /* p(z|h) and its sample */
    memset(small, 0, (size_t)(m * 2 * o->stoch) * sizeof(float));
    for (int64_t i = 0; i < m; i++)
      gaussian_backward(o->z_params + (at + i) * 2 * o->stoch, o->z_noise + (at + i) * o->stoch,
                        o->stoch, d_next + i * columns + o->deter, small + i * 2 * o->stoch);
    linear_backward(&o->prior_output, m, small, work, o->prior.linear.outputs, 0);
    const float *dy = layer_backward(&o->prior, at, m, block, work, work + half);
    linear_backward(&o->prior.linear, m, dy, d_next, columns, 1);
    /* recurrence */
    cell_backward(&o->cell, at, m, block, state, columns, d_next, columns, work, d_state, columns,
                  t > 0, work + half); /* nothing asks for the gradient of the start */
    dy = layer_backward(&o->transition, at, m, block, work, work + half);
    linear_backward(&o->transition.linear, m, dy, d_state + o->deter, columns, 1);
    /* decoder */
    for (int64_t i = 0; i < m; i++)
      for (int64_t j = 0; j < o->action; j++) {
        const float a = action[i * o->action + j];
        small[i * o->action + j] = d_state[i * columns + with_u + j] * (1.0f - a * a);
      }
    linear_backward(&o->decoder_output, m, small, work, o->decoder.linear.outputs, 0);
    dy = layer_backward(&o->decoder, at, m, block, work, work + half);
    linear_backward(&o->decoder.linear, m, dy, d_state, columns, 1);
    /* policy, and the prior that its choice is relative to */
    float *d_raw = o->d_raw + at * 2 * latent;
    for (int64_t i = 0; i < m; i++)
      choose_backward(o, o->raw + (at + i) * 2 * latent, o->u_prior + (at + i) * 2 * latent,
                      o->u_noise + (at + i) * latent, d_state + i * columns + size, pair,
                      pair + latent, d_raw + i * 2 * latent, small + i * 2 * latent);
    keep_input(into, o->horizon * o->rows, at, m, state, columns);
    mlp_backward(&o->policy, at, m, block, d_raw, t > 0 ? d_state : NULL, columns, work, half);
    if (t > 0 && o->constraint != FREE)
      mlp_backward(&o->action_prior, at, m, block, small, d_state, columns, work, half);
  }
}

typedef void BlockFunction(const Imagine *, int64_t first, int64_t m, int64_t block, float *work);

static void forward_of(const Imagine *o, int64_t first, int64_t m, int64_t block, float *work) {
  (void)block;
  forward_block(o, first, m, work);
}

static int over_blocks(const Imagine *o, BlockFunction *run) {
  const int64_t blocks = (o->rows + o->block - 1) / o->block;
  const int64_t each = 2 * widest(o) + max_of(2 * max_of(o->stoch, o->latent), o->action);
  int failed = 0;
#pragma omp parallel for schedule(static, 1) num_threads(team_of(blocks, o->threads)) \
    reduction(| : failed)
  for (int64_t b = 0; b < blocks; b++) {
    const int64_t m = min_of(o->block, o->rows - b * o->block);
    float *work = malloc((size_t)(m * each + 2 * o->latent) * sizeof(float));
    if (work) run(o, b * o->block, m, b, work);
    failed |= !work;
    free(work);
  }
  return failed;
}

/* Both return 0, or 1 if memory ran out. */
int lawm_imagine_forward(const Imagine *o) {
  const Linear *all[2 * (MAX_LAYERS + 1)];
  const Linear *others[] = {&o->decoder.linear, &o->transition.linear, &o->prior.linear,
                            &o->cell.of_x,      &o->cell.of_h,         &o->decoder_output,
                            &o->prior_output};
  int count = linears_of(&o->policy, all);
  count += linears_of(&o->action_prior, all + count);
  pack_all(all, count, o->threads);
  pack_all(others, sizeof(others) / sizeof(*others), o->threads);
  return over_blocks(o, forward_of);
}
int lawm_imagine_backward(const Imagine *o) {
  const int failed = over_blocks(o, backward_block);
  mlp_gradients(&o->policy, o->threads, (o->rows + o->block - 1) / o->block,
                o->horizon * o->rows, o->d_raw);
  return failed;
}
