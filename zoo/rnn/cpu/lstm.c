/* All steps of one LSTM layer and direction on a CPU, forward and backward, optionally with layer
 * norm. zoo/rnn/lstm_reference.py states the formulas; zoo/rnn/cpu/lstm_compiled.py calls this.
 *
 * The rows of a batch wait for nothing of each other. So they are shared out in parts, one for each
 * thread, and a part runs through all steps by itself. The work of a row does not depend on its part.
 *
 * A step multiplies a few rows with a few vectors of columns, held in registers: rows x 4 sums. In
 * the forward the four vectors are the gates of the same units, so that the gates follow at once.
 *
 * This file includes itself: once for float, once for double.
 */
#ifndef REAL

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#define WIDTH 64 /* bytes of a vector */
#define MOST_ROWS 6
#elif defined(__AVX__)
#define WIDTH 32
#define MOST_ROWS 2
#else
#define WIDTH 16
#define MOST_ROWS 4
#endif
#define VECTORS 4 /* of columns that are multiplied at once */
#define EPSILON 1e-5

/* The argument of every function here: sizes, then addresses. Buffers are contiguous; `real` is
 * float or double. Where `reverse` is 1, the last step comes first. */
typedef struct {
    int64_t time, batch, hidden, reverse, parts;
    int64_t next;                    /* the next part that no thread has taken */
    int64_t d_output_step, d_output_row; /* distances in d_output, in numbers */
    void (*body)(void *, int64_t);
    const void *weight;              /* w_hh (4 * hidden, hidden) */
    void *packed;                    /* the weight as a step reads it */
    void *sums;                      /* (time, batch, 4, hidden): W x + b, then with W h added */
    void *gates;                     /* (time, batch, 4, hidden); without layer norm: is `sums` */
    void *h, *c;                     /* (time + 1, batch, hidden), the initial state included */
    void *shown;                     /* (time, batch, hidden): tanh of the cell or of its norm */
    const uint8_t *pad;              /* (time, batch), 1 on padding; NULL: none */
    const void *scale, *shift;       /* (5, hidden): i, f, g, o, cell; NULL: no layer norm */
    void *stats;                     /* (time, batch, 5, 2): mean and 1 / deviation */
    const void *d_output;            /* (time, batch, hidden), with the distances above */
    void *d_h, *d_c;                 /* (batch, hidden): of the last state, then of the first */
    void *d_sums;                    /* (time, batch, 4, hidden) */
    void *d_norms;                   /* (parts, 2, 5, hidden), zero at first: d_scale, d_shift */
} Job;

typedef int (*Parallel)(void (*)(void *), void *, unsigned, unsigned); /* GOMP_parallel */

/* Take parts until none is left; every thread of a team runs this. */
static void take_parts(void *data)
{
    Job *job = data;
    for (;;) {
        int64_t part = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED);
        if (part >= job->parts)
            return;
        job->body(job, part);
    }
}

static void run_parts(Job *job, void (*body)(void *, int64_t), Parallel parallel)
{
    job->body = body;
    job->next = 0;
    if (parallel && job->parts > 1)
        parallel(take_parts, job, (unsigned)job->parts, 0);
    else
        take_parts(job);
}

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define NAME(name) JOIN(name, REAL)

#define REAL float
#define INTEGER int32_t
#include "lstm.c"
#undef REAL
#undef INTEGER

#define REAL double
#define INTEGER int64_t
#include "lstm.c"
#undef REAL

#else /* what follows is compiled for each REAL */

#define LANES ((int)(WIDTH / sizeof(REAL)))
#define vec NAME(vec)
#define mask NAME(mask)
#define Sums NAME(Sums)

typedef REAL vec __attribute__((vector_size(WIDTH)));
typedef REAL NAME(anywhere) __attribute__((vector_size(WIDTH), aligned(sizeof(REAL)), may_alias));
typedef INTEGER mask __attribute__((vector_size(WIDTH)));

/* Read up to LANES numbers; the lanes from `count` on are zero. */
INLINE vec NAME(load)(const REAL *from, int count)
{
    if (count >= LANES)
        return *(const NAME(anywhere) *)from;
    vec value = {0};
    memcpy(&value, from, (size_t)count * sizeof(REAL));
    return value;
}

INLINE void NAME(store)(REAL *to, vec value, int count)
{
    if (count >= LANES)
        *(NAME(anywhere) *)to = value;
    else
        memcpy(to, &value, (size_t)count * sizeof(REAL));
}

INLINE vec NAME(first)(vec value, int count) /* set the lanes from `count` on to zero */
{
    if (count >= LANES)
        return value;
    vec kept = {0};
    memcpy(&kept, &value, (size_t)count * sizeof(REAL));
    return kept;
}

INLINE REAL NAME(total)(vec value)
{
    REAL sum = 0;
    for (int lane = 0; lane < LANES; lane++)
        sum += value[lane];
    return sum;
}

INLINE vec NAME(choose)(mask where, vec yes, vec no)
{
    return (vec)((where & (mask)yes) | (~where & (mask)no));
}

#define load NAME(load)
#define store NAME(store)
#define first NAME(first)
#define total NAME(total)
#define choose NAME(choose)

/* exp, 1 / (1 + exp(-x)) and tanh of every lane. In float: the polynomials of the Cephes library,
 * right to two units in the last place. NaN stays NaN. */
INLINE vec NAME(exponential)(vec x)
{
    if (sizeof(REAL) == 8) {
        for (int lane = 0; lane < LANES; lane++)
            x[lane] = (REAL)exp((double)x[lane]);
        return x;
    }
    const vec zero = {0};
    const vec low = zero - (REAL)87.3, high = zero + (REAL)88.3, shift = zero + (REAL)12582912.0;
    x = choose(x < low, low, x);
    x = choose(x > high, high, x);
    vec moved = x * (REAL)1.44269504088896341 + shift; /* its low bits: the nearest integer */
    vec whole = moved - shift;
    vec rest = x - whole * (REAL)0.693359375 + whole * (REAL)2.12194440e-4;
    vec sum = rest * (REAL)1.9875691500e-4 + (REAL)1.3981999507e-3;
    sum = sum * rest + (REAL)8.3334519073e-3;
    sum = sum * rest + (REAL)4.1665795894e-2;
    sum = sum * rest + (REAL)1.6666665459e-1;
    sum = sum * rest + (REAL)5.0000001201e-1;
    sum = sum * (rest * rest) + rest + (REAL)1;
    mask power = ((mask)moved << 23) + (127 << 23); /* 2 to the integer, as the bits of a float */
    return sum * (vec)power;
}

INLINE vec NAME(sigmoid)(vec x)
{
    return (REAL)1 / ((REAL)1 + NAME(exponential)(-x));
}

INLINE vec NAME(tangent)(vec x)
{
    if (sizeof(REAL) == 8) {
        for (int lane = 0; lane < LANES; lane++)
            x[lane] = (REAL)tanh((double)x[lane]);
        return x;
    }
    const vec zero = {0};
    vec size = choose(x < zero, -x, x);
    vec large = (REAL)1 - (REAL)2 / (NAME(exponential)(size + size) + (REAL)1);
    large = choose(x < zero, -large, large);
    vec square = x * x;
    vec small = square * (REAL)-5.70498872745e-3 + (REAL)2.06390887954e-2;
    small = small * square - (REAL)5.37397155531e-2;
    small = small * square + (REAL)1.33314422036e-1;
    small = small * square - (REAL)3.33332819422e-1;
    small = small * square * x + x;
    return choose(size > zero + (REAL)0.625, large, small);
}

#define sigmoid NAME(sigmoid)
#define tangent NAME(tangent)

/* The sums over k of left[r][k] * right[k][v], for a tile of rows and vectors. */
typedef struct {
    vec at[MOST_ROWS][VECTORS];
} Sums;

/* Compute a tile: the rows of `left` are `stride` apart, `right` is packed (depth, vectors, lane). */
INLINE void NAME(multiply)(
    const int rows, const int vectors, int64_t depth, const REAL *left, int64_t stride, const REAL *right, Sums *found)
{
    vec sums[MOST_ROWS][VECTORS];
#pragma GCC unroll 6
    for (int row = 0; row < rows; row++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sums[row][v] = (vec){0};
    for (int64_t k = 0; k < depth; k++) {
        vec column[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            column[v] = *(const vec *)(right + (k * vectors + v) * LANES);
#pragma GCC unroll 6
        for (int row = 0; row < rows; row++) {
            const REAL factor = left[row * stride + k];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                sums[row][v] += factor * column[v];
        }
    }
#pragma GCC unroll 6
    for (int row = 0; row < rows; row++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            found->at[row][v] = sums[row][v];
}

#define CASE(rows, vectors) \
    case rows * 8 + vectors: NAME(multiply)(rows, vectors, depth, left, stride, right, found); return;
#define CASES(rows) CASE(rows, 1) CASE(rows, 2) CASE(rows, 3) CASE(rows, 4)

/* Compute a tile whose sizes are not known to the compiler. */
static void NAME(tile)(
    int rows, int vectors, int64_t depth, const REAL *left, int64_t stride, const REAL *right, Sums *found)
{
    switch (rows * 8 + vectors) {
        CASES(1)
        CASES(2)
#if MOST_ROWS > 2
        CASES(3)
        CASES(4)
#endif
#if MOST_ROWS > 4
        CASES(5)
        CASES(6)
#endif
    }
}

#undef CASES
#undef CASE

/* How many of the rows that are left are multiplied at once: tiles of about the same height. */
INLINE int NAME(height)(int64_t left)
{
    int64_t tiles = (left + MOST_ROWS - 1) / MOST_ROWS;
    return (int)((left + tiles - 1) / tiles);
}

/* Pack the weight for the forward: (blocks of units, input unit, gate, lane). */
static void NAME(pack_forward)(void *data, int64_t part)
{
    const Job *job = data;
    const int64_t hidden = job->hidden, blocks = (hidden + LANES - 1) / LANES;
    const REAL *weight = job->weight;
    for (int64_t block = blocks * part / job->parts; block < blocks * (part + 1) / job->parts; block++)
        for (int gate = 0; gate < 4; gate++) {
            REAL *to = (REAL *)job->packed + (block * hidden * 4 + gate) * LANES;
            const REAL *from = weight + (gate * hidden + block * LANES) * hidden;
            const int64_t count = hidden - block * LANES;
            for (int64_t k = 0; k < hidden; k++)
                for (int lane = 0; lane < LANES; lane++)
                    to[k * 4 * LANES + lane] = lane < count ? from[lane * hidden + k] : 0;
        }
}

/* Pack it for the backward: (blocks of 4 vectors, gate and unit, vector, lane). */
static void NAME(pack_backward)(void *data, int64_t part)
{
    const Job *job = data;
    const int64_t hidden = job->hidden, all = (hidden + LANES - 1) / LANES;
    const int64_t blocks = (all + VECTORS - 1) / VECTORS;
    for (int64_t block = blocks * part / job->parts; block < blocks * (part + 1) / job->parts; block++) {
        const int64_t start = block * VECTORS * LANES;
        const int64_t vectors = all - block * VECTORS < VECTORS ? all - block * VECTORS : VECTORS;
        const int64_t count = hidden - start < vectors * LANES ? hidden - start : vectors * LANES;
        REAL *to = (REAL *)job->packed + start * 4 * hidden;
        for (int64_t k = 0; k < 4 * hidden; k++, to += vectors * LANES) {
            memcpy(to, (const REAL *)job->weight + k * hidden + start, (size_t)count * sizeof(REAL));
            memset(to + count, 0, (size_t)(vectors * LANES - count) * sizeof(REAL));
        }
    }
}

/* Where the state before step t, and after it, is kept: h and c have one more step than the rest. */
INLINE int64_t NAME(before)(const Job *job, int64_t t)
{
    return job->reverse ? t + 1 : t;
}

INLINE int64_t NAME(after)(const Job *job, int64_t t)
{
    return job->reverse ? t : t + 1;
}

/* Run `rows` rows of step t for one block of units; with layer norm only add W h to the sums. */
static void NAME(forward_tile)(const Job *job, int rows, int64_t t, int64_t row, int64_t block)
{
    const int64_t hidden = job->hidden, batch = job->batch, unit = block * LANES;
    const int count = hidden - unit < LANES ? (int)(hidden - unit) : LANES;
    const int64_t before = (NAME(before)(job, t) * batch + row) * hidden;
    const int64_t after = (NAME(after)(job, t) * batch + row) * hidden;
    REAL *h = job->h, *c = job->c;
    const REAL *packed = (const REAL *)job->packed + block * hidden * 4 * LANES;
    Sums read;
    NAME(tile)(rows, 4, hidden, h + before, hidden, packed, &read);
    for (int r = 0; r < rows; r++) {
        const int64_t at = t * batch + row + r;
        REAL *z = (REAL *)job->sums + at * 4 * hidden + unit;
        vec sum[4];
        for (int gate = 0; gate < 4; gate++)
            sum[gate] = load(z + gate * hidden, count) + read.at[r][gate];
        if (job->scale) {
            for (int gate = 0; gate < 4; gate++)
                store(z + gate * hidden, sum[gate], count);
            continue;
        }
        const int64_t old = before + r * hidden + unit, new = after + r * hidden + unit;
        vec i = sigmoid(sum[0]), f = sigmoid(sum[1]), g = tangent(sum[2]), o = sigmoid(sum[3]);
        vec cell = load(c + old, count);
        vec next = f * cell + i * g;
        vec shown = tangent(next), made = o * shown;
        if (job->pad && job->pad[at]) {
            next = cell;
            made = load(h + old, count);
        }
        store(z, i, count);
        store(z + hidden, f, count);
        store(z + 2 * hidden, g, count);
        store(z + 3 * hidden, o, count);
        store(c + new, next, count);
        store(h + new, made, count);
        store((REAL *)job->shown + at * hidden + unit, shown, count);
    }
}

/* Find mean and 1 / deviation of `hidden` numbers. */
INLINE void NAME(moments)(const REAL *from, int64_t hidden, REAL *found)
{
    vec sum = {0}, squares = {0};
    for (int64_t unit = 0; unit < hidden; unit += LANES)
        sum += load(from + unit, (int)(hidden - unit));
    const REAL mean = total(sum) / (REAL)hidden;
    for (int64_t unit = 0; unit < hidden; unit += LANES) {
        vec off = first(load(from + unit, (int)(hidden - unit)) - mean, (int)(hidden - unit));
        squares += off * off;
    }
    found[0] = mean;
    found[1] = (REAL)1 / (REAL)sqrt((double)(total(squares) / (REAL)hidden) + EPSILON);
}

/* Normalise the sums of one row at step t, and compute its gates and its state. */
static void NAME(forward_norm)(const Job *job, int64_t t, int64_t row)
{
    const int64_t hidden = job->hidden, at = t * job->batch + row;
    const int64_t before = (NAME(before)(job, t) * job->batch + row) * hidden;
    const int64_t after = (NAME(after)(job, t) * job->batch + row) * hidden;
    const REAL *sums = (const REAL *)job->sums + at * 4 * hidden, *scale = job->scale, *shift = job->shift;
    REAL *gates = (REAL *)job->gates + at * 4 * hidden, *shown = (REAL *)job->shown + at * hidden;
    REAL *stats = (REAL *)job->stats + at * 10, *h = job->h, *c = job->c;
    for (int gate = 0; gate < 4; gate++)
        NAME(moments)(sums + gate * hidden, hidden, stats + 2 * gate);
    for (int64_t unit = 0; unit < hidden; unit += LANES) {
        const int count = hidden - unit < LANES ? (int)(hidden - unit) : LANES;
        vec normed[4];
        for (int gate = 0; gate < 4; gate++) {
            const int64_t place = gate * hidden + unit;
            vec off = (load(sums + place, count) - stats[2 * gate]) * stats[2 * gate + 1];
            normed[gate] = off * load(scale + place, count) + load(shift + place, count);
        }
        vec i = sigmoid(normed[0]), f = sigmoid(normed[1]), g = tangent(normed[2]), o = sigmoid(normed[3]);
        store(gates + unit, i, count);
        store(gates + hidden + unit, f, count);
        store(gates + 2 * hidden + unit, g, count);
        store(gates + 3 * hidden + unit, o, count);
        store(c + after + unit, f * load(c + before + unit, count) + i * g, count);
    }
    NAME(moments)(c + after, hidden, stats + 8);
    const int held = job->pad && job->pad[at];
    for (int64_t unit = 0; unit < hidden; unit += LANES) {
        const int count = hidden - unit < LANES ? (int)(hidden - unit) : LANES;
        vec off = (load(c + after + unit, count) - stats[8]) * stats[9];
        vec out = tangent(off * load(scale + 4 * hidden + unit, count) + load(shift + 4 * hidden + unit, count));
        store(shown + unit, out, count);
        vec made = load(gates + 3 * hidden + unit, count) * out;
        store(h + after + unit, held ? load(h + before + unit, count) : made, count);
        if (held)
            store(c + after + unit, load(c + before + unit, count), count);
    }
}

static void NAME(forward)(void *data, int64_t part)
{
    const Job *job = data;
    const int64_t blocks = (job->hidden + LANES - 1) / LANES;
    const int64_t begin = job->batch * part / job->parts, end = job->batch * (part + 1) / job->parts;
    for (int64_t step = 0; step < job->time; step++) {
        const int64_t t = job->reverse ? job->time - 1 - step : step;
        for (int64_t block = 0; block < blocks; block++)
            for (int64_t row = begin; row < end;) {
                const int rows = NAME(height)(end - row);
                NAME(forward_tile)(job, rows, t, row, block);
                row += rows;
            }
        for (int64_t row = begin; job->scale && row < end; row++)
            NAME(forward_norm)(job, t, row);
    }
}

/* Compute the gradient of one row's sums at step t, and that of its cell before the step. */
static void NAME(backward_row)(const Job *job, int64_t t, int64_t row, REAL *d_norms)
{
    const int64_t hidden = job->hidden, at = t * job->batch + row;
    const REAL *gates = (const REAL *)job->gates + at * 4 * hidden;
    const REAL *shown = (const REAL *)job->shown + at * hidden, *sums = (const REAL *)job->sums + at * 4 * hidden;
    const REAL *old = (const REAL *)job->c + (NAME(before)(job, t) * job->batch + row) * hidden;
    const REAL *new = (const REAL *)job->c + (NAME(after)(job, t) * job->batch + row) * hidden;
    const REAL *d_output = (const REAL *)job->d_output + t * job->d_output_step + row * job->d_output_row;
    const REAL *scale = job->scale, *stats = (const REAL *)job->stats + at * 10;
    REAL *d_h = (REAL *)job->d_h + row * hidden, *d_c = (REAL *)job->d_c + row * hidden;
    REAL *d_sums = (REAL *)job->d_sums + at * 4 * hidden;
    const int norm = scale != NULL;
    if (job->pad && job->pad[at]) { /* the state is carried over the step, and so is its gradient */
        memset(d_sums, 0, (size_t)(4 * hidden) * sizeof(REAL));
        for (int64_t unit = 0; unit < hidden; unit++)
            d_h[unit] += d_output[unit];
        return;
    }
    REAL mean[5], along[5]; /* of the gradients of what is normalised, and of them times it */
    vec sum = {0}, product = {0};
    for (int64_t unit = 0; unit < hidden; unit += LANES) {
        const int count = hidden - unit < LANES ? (int)(hidden - unit) : LANES;
        vec d_made = load(d_h + unit, count) + load(d_output + unit, count);
        store(d_h + unit, d_made, count);
        if (!norm)
            continue;
        const int64_t place = 4 * hidden + unit;
        vec out = load(shown + unit, count), o = load(gates + 3 * hidden + unit, count);
        vec d_normed = d_made * o * ((REAL)1 - out * out);
        vec off = first((load(new + unit, count) - stats[8]) * stats[9], count);
        store(d_norms + place, load(d_norms + place, count) + d_normed * off, count);
        store(d_norms + 5 * hidden + place, load(d_norms + 5 * hidden + place, count) + d_normed, count);
        vec d_off = d_normed * load(scale + place, count);
        sum += d_off;
        product += d_off * off;
    }
    if (norm) {
        mean[4] = total(sum) / (REAL)hidden;
        along[4] = total(product) / (REAL)hidden;
    }
    vec gate_sums[4] = {{0}}, gate_products[4] = {{0}};
    for (int64_t unit = 0; unit < hidden; unit += LANES) {
        const int count = hidden - unit < LANES ? (int)(hidden - unit) : LANES;
        vec i = load(gates + unit, count), f = load(gates + hidden + unit, count);
        vec g = load(gates + 2 * hidden + unit, count), o = load(gates + 3 * hidden + unit, count);
        vec out = load(shown + unit, count), d_made = load(d_h + unit, count);
        vec d_shown = d_made * o * ((REAL)1 - out * out);
        if (norm) {
            vec off = (load(new + unit, count) - stats[8]) * stats[9];
            vec d_off = d_shown * load(scale + 4 * hidden + unit, count);
            d_shown = (d_off - mean[4] - off * along[4]) * stats[9];
        }
        vec d_cell = load(d_c + unit, count) + d_shown;
        vec d[4] = {
            d_cell * g * (i - i * i),
            d_cell * load(old + unit, count) * (f - f * f),
            d_cell * i * ((REAL)1 - g * g),
            d_made * out * (o - o * o),
        };
        store(d_c + unit, d_cell * f, count);
#pragma GCC unroll 4
        for (int gate = 0; gate < 4; gate++) {
            const int64_t place = gate * hidden + unit;
            if (norm) {
                vec off = first((load(sums + place, count) - stats[2 * gate]) * stats[2 * gate + 1], count);
                store(d_norms + place, load(d_norms + place, count) + d[gate] * off, count);
                store(d_norms + 5 * hidden + place, load(d_norms + 5 * hidden + place, count) + d[gate], count);
                d[gate] *= load(scale + place, count);
                gate_sums[gate] += d[gate];
                gate_products[gate] += d[gate] * off;
            }
            store(d_sums + place, d[gate], count);
        }
    }
    if (!norm)
        return;
    for (int gate = 0; gate < 4; gate++) {
        mean[gate] = total(gate_sums[gate]) / (REAL)hidden;
        along[gate] = total(gate_products[gate]) / (REAL)hidden;
        for (int64_t unit = 0; unit < hidden; unit += LANES) {
            const int count = hidden - unit < LANES ? (int)(hidden - unit) : LANES;
            const int64_t place = gate * hidden + unit;
            vec off = (load(sums + place, count) - stats[2 * gate]) * stats[2 * gate + 1];
            vec d_off = load(d_sums + place, count) - mean[gate] - off * along[gate];
            store(d_sums + place, d_off * stats[2 * gate + 1], count);
        }
    }
}

/* Compute the gradient of h before step t, for `rows` rows and `vectors` vectors of units. */
static void NAME(backward_tile)(const Job *job, int rows, int vectors, int64_t t, int64_t row, int64_t unit)
{
    const int64_t hidden = job->hidden, at = t * job->batch + row;
    const REAL *d_sums = (const REAL *)job->d_sums + at * 4 * hidden;
    const REAL *packed = (const REAL *)job->packed + unit * 4 * hidden;
    Sums read;
    NAME(tile)(rows, vectors, 4 * hidden, d_sums, 4 * hidden, packed, &read);
    for (int r = 0; r < rows; r++) {
        REAL *d_h = (REAL *)job->d_h + (row + r) * hidden + unit;
        if (job->pad && job->pad[at + r])
            continue;
        for (int v = 0; v < vectors; v++)
            store(d_h + v * LANES, read.at[r][v], (int)(hidden - unit - v * LANES));
    }
}

static void NAME(backward)(void *data, int64_t part)
{
    const Job *job = data;
    const int64_t hidden = job->hidden, all = (hidden + LANES - 1) / LANES;
    const int64_t begin = job->batch * part / job->parts, end = job->batch * (part + 1) / job->parts;
    REAL *d_norms = (REAL *)job->d_norms + part * 10 * hidden;
    for (int64_t step = 0; step < job->time; step++) {
        const int64_t t = job->reverse ? step : job->time - 1 - step;
        for (int64_t row = begin; row < end; row++)
            NAME(backward_row)(job, t, row, d_norms);
        for (int64_t done = 0; done < all; done += VECTORS)
            for (int64_t row = begin; row < end;) {
                const int rows = NAME(height)(end - row);
                const int vectors = all - done < VECTORS ? (int)(all - done) : VECTORS;
                NAME(backward_tile)(job, rows, vectors, t, row, done * LANES);
                row += rows;
            }
    }
}

void NAME(lstm_forward)(Job *job, Parallel parallel)
{
    run_parts(job, NAME(pack_forward), parallel);
    run_parts(job, NAME(forward), parallel);
}

void NAME(lstm_backward)(Job *job, Parallel parallel)
{
    run_parts(job, NAME(pack_backward), parallel);
    run_parts(job, NAME(backward), parallel);
}

#undef LANES
#undef vec
#undef mask
#undef Sums
#undef load
#undef store
#undef first
#undef total
#undef choose
#undef sigmoid
#undef tangent
#endif
