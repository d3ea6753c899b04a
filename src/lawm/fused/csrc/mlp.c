/* An MLP on many rows, a block of rows through all layers at a time. */
#include "layers.h"

typedef struct {
  int64_t threads, block, rows;
  Mlp mlp;
  const float *x;
  int64_t x_stride;
  const float *offset; /* (rows, hidden) in place of the first layer's bias, or NULL */
  float *out;          /* NULL where the MLP has no output layer */
  const float *d_out;
  float *d_x; /* contiguous, or NULL where it is not wanted */
} MlpCall;

int64_t lawm_mlp_size(void) { return sizeof(MlpCall); }

static int64_t widest(const Mlp *l) {
  int64_t cols = 1;
  for (int64_t n = 0; n < l->layers; n++) cols = max_of(cols, l->layer[n].linear.outputs);
  return cols;
}

static void forward_block(const MlpCall *o, int64_t first, int64_t m, int64_t block, float *work) {
  (void)block;
  const int64_t hidden = o->mlp.layer[0].linear.outputs;
  mlp_forward(&o->mlp, o->rows, first, m, o->x + first * o->x_stride, o->x_stride,
              o->offset ? o->offset + first * hidden : NULL,
              o->out + first * o->mlp.output.outputs, work, m * widest(&o->mlp));
}

static void backward_block(const MlpCall *o, int64_t first, int64_t m, int64_t block, float *work) {
  const Linear *into = o->mlp.layers > 0 ? &o->mlp.layer[0].linear : &o->mlp.output;
  const int64_t inputs = into->inputs, outputs = o->mlp.output.outputs;
  const int64_t last = o->mlp.layers - 1;
  const int64_t given = outputs > 0 || last < 0 ? outputs : o->mlp.layer[last].linear.outputs;
  float *d_x = o->d_x ? o->d_x + first * inputs : NULL;
  keep_input(into, o->rows, first, m, o->x + first * o->x_stride, o->x_stride);
  if (d_x) memset(d_x, 0, (size_t)(m * inputs) * sizeof(float));
  for (int64_t n = 0; n < o->mlp.layers; n++)
    clear_sums(o->mlp.layer[n].sums, block, o->mlp.layer[n].linear.outputs);
  mlp_backward(&o->mlp, first, m, block, o->d_out + first * given, d_x, inputs,
               work, m * widest(&o->mlp));
}

typedef void BlockFunction(const MlpCall *, int64_t first, int64_t m, int64_t block, float *work);

static int over_blocks(const MlpCall *o, BlockFunction *run) {
  const int64_t blocks = (o->rows + o->block - 1) / o->block;
  int failed = 0;
#pragma omp parallel for schedule(static, 1) num_threads(team_of(blocks, o->threads)) \
    reduction(| : failed)
  for (int64_t b = 0; b < blocks; b++) {
    const int64_t m = min_of(o->block, o->rows - b * o->block);
    float *work = malloc((size_t)(2 * m * widest(&o->mlp)) * sizeof(float));
    if (work) run(o, b * o->block, m, b, work);
    failed |= !work;
    free(work);
  }
  return failed;
}

/* Of the weights, from what the blocks kept. */
static void weight_gradients(const MlpCall *o) {
#if LAWM_BF16
  const Linear *all[MAX_LAYERS + 1];
  const int count = linears_of(&o->mlp, all);
#pragma omp parallel for schedule(static) num_threads((int)o->threads)
  for (int64_t part = 0; part < o->threads; part++)
    for (int n = 0; n < count; n++)
      if (all[n]->gradient)
        lawm_gradient_of_pairs(part, o->threads, o->rows, all[n]->outputs, all[n]->inputs,
                               all[n]->dy_pairs, all[n]->x_pairs, all[n]->gradient,
                               all[n]->inputs);
#endif
  (void)o;
}

/* to (cols) = the sum of all rows, of runs of rows first: less is lost to rounding. */
static void sum_rows(int64_t threads, int64_t rows, int64_t cols, const float *x, float *to) {
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

/* Both return 0, or 1 if memory ran out. */
int lawm_mlp_forward(const MlpCall *o) {
  const Linear *all[MAX_LAYERS + 1];
  pack_all(all, linears_of(&o->mlp, all), o->threads);
  return over_blocks(o, forward_block);
}
int lawm_mlp_backward(const MlpCall *o) {
  const int failed = over_blocks(o, backward_block);
  const Linear *output = &o->mlp.output;
  for (int64_t n = 0; n < o->mlp.layers; n++) {
    const Layer *l = &o->mlp.layer[n];
    add_blocks(l->sums, (o->rows + o->block - 1) / o->block, l->linear.outputs, l->gradients);
  }
  if (output->bias_gradient)
    sum_rows(o->threads, o->rows, output->outputs, o->d_out, output->bias_gradient);
  weight_gradients(o);
  return failed;
}
