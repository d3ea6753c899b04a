/* An MLP on many rows, a block of rows through all layers at a time. */
#include "gradients.h"

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
  clear_mlp_sums(&o->mlp, block);
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

/* Both return 0, or 1 if memory ran out. */
int lawm_mlp_forward(const MlpCall *o) {
  const Linear *all[MAX_LAYERS + 1];
  pack_all(all, linears_of(&o->mlp, all), o->threads);
  return over_blocks(o, forward_block);
}
int lawm_mlp_backward(const MlpCall *o) {
  const int failed = over_blocks(o, backward_block);
  mlp_gradients(&o->mlp, o->threads, (o->rows + o->block - 1) / o->block, o->rows, o->d_out);
  return failed;
}
