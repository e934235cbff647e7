/* haaqi_nano.c: see haaqi_nano.h. The constants come first, tables and trained weights. The code starts at "kernels".
 *
 * @about@
 */
#include "haaqi_nano.h"

#include <math.h>
#include <string.h>
#if HAAQI_INT8 && defined(__ARM_FEATURE_DSP) && defined(__ARMEL__)
#include <arm_acle.h>
#define HAAQI_PAIRS 1 /* two products of 16 bits in one instruction */
#else
#define HAAQI_PAIRS 0
#endif

/* ---- constants ---- */

#if HAAQI_INT8
typedef int8_t weight; /* times the scale of its row */
#else
typedef float weight;
#endif
#if HAAQI_INT8
#define HAAQI_ROUNDED(of) (stream->work.of.rounded)
#else
#define HAAQI_ROUNDED(of) NULL
#endif

/* A matrix [outputs][inputs] and a bias. */
typedef struct dense {
    const weight *weights;
#if HAAQI_INT8
    const float *scales;
#endif
    const float *bias;
    uint32_t outputs, inputs;
} dense;

/* A fully connected layer of the encoder, normalised over its units. */
typedef struct layer {
    dense product;
    const float *gain, *shift;
} layer;

/* One direction of the GRU: products of the input and of the state, with the gates reset, update and new. */
typedef struct gru {
    dense input, state;
} gru;

/* Tables of the front end: cosines and negative sines (turns), halves of the symmetric windows, the first bin of each
 * band in the two spectra (starts), the bins whose weighted sums are the bands of a frame, and the kernel of the
 * modulations with the first bin of each rate. Version 2 also has the curves that are removed from a patch: polynomials
 * over a segment, and their coefficients in all segments (trend). The constants of the network follow. */

/* @numbers@ */

/* ---- kernels ---- */

enum {
    STEP_PRODUCTS = 4096, /* multiplications of a part of a product */
    FUNCTION = 16         /* operations that a function of the mathematical library counts as */
};

#if !HAAQI_INT8 || HAAQI_TEXTURE == 2
static float product(const float *w, const float *x, size_t n)
{
    float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f; /* four independent sums */
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        a += w[i] * x[i];
        b += w[i + 1] * x[i + 1];
        c += w[i + 2] * x[i + 2];
        d += w[i + 3] * x[i + 3];
    }
    for (i = n - n % 4; i < n; i++) /* in this form, gcc -O3 does not warn where n is constant */
        a += w[i] * x[i];
    return (a + b) + (c + d);
}
#endif

#if HAAQI_INT8

/* Return the position of input i of n in the rounded inputs. Pairs follow the order in which 8-bit weights are
 * unpacked: the first and third of each four, then the second and fourth. */
static size_t place(size_t i, size_t n)
{
    size_t within = i % 4;
    return HAAQI_PAIRS && i < n - n % 4 && (within == 1 || within == 2) ? i ^ 3 : i;
}

/* Round x to as many 16-bit steps as a 32-bit sum of n products with 8-bit weights allows, and return the size of a
 * step. The error is negligible compared to that of the rounded weights. */
static float round_inputs(const float *x, size_t n, int16_t *rounded)
{
    int32_t limit = INT32_MAX / (127 * (int32_t)n);
    float largest = 1e-20f, factor;
    limit = limit < INT16_MAX ? limit : INT16_MAX;
    for (size_t i = 0; i < n; i++)
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    factor = (float)limit / largest;
    for (size_t i = 0; i < n; i++) {
        float steps = x[i] * factor;
        rounded[place(i, n)] = (int16_t)(steps < 0.0f ? steps - 0.49999f : steps + 0.49999f);
    }
    return largest / (float)limit;
}

#if HAAQI_PAIRS
static inline int32_t add_four(const weight *w, const int16_t *x, int32_t total)
{
    uint32_t four, first, second;
    memcpy(&four, w, sizeof four); /* one load each */
    memcpy(&first, x, sizeof first);
    memcpy(&second, x + 2, sizeof second);
    total = __smlad((int16x2_t)__sxtb16((int8x4_t)four), (int16x2_t)first, total);
    return __smlad((int16x2_t)__sxtb16((int8x4_t)(four >> 8)), (int16x2_t)second, total);
}
#endif

static int32_t dot(const weight *w, const int16_t *x, size_t n)
{
    int32_t total = 0;
#if HAAQI_PAIRS
    for (; n >= 16; n -= 16, w += 16, x += 16) {
        total = add_four(w, x, total);
        total = add_four(w + 4, x + 4, total);
        total = add_four(w + 8, x + 8, total);
        total = add_four(w + 12, x + 12, total);
    }
    for (; n >= 4; n -= 4, w += 4, x += 4)
        total = add_four(w, x, total);
#endif
    for (size_t i = 0; i < n; i++)
        total += (int32_t)w[i] * x[i];
    return total;
}

/* Compute the next rows of a product, and get their number of operations. Returns whether the product is complete.
 * rounded: a buffer for the inputs, which are rounded with the first rows. */
static int apply_part(haaqi_task *task, int16_t *rounded, const dense *matrix, const float *x, float *y, uint32_t *cost)
{
    size_t rows = STEP_PRODUCTS > matrix->inputs ? STEP_PRODUCTS / matrix->inputs : 1, first = task->row;
    size_t last = first + rows < matrix->outputs ? first + rows : matrix->outputs;
    const weight *row = matrix->weights + first * matrix->inputs;
    *cost = (uint32_t)((last - first) * (matrix->inputs + 2));
    if (first == 0) {
        task->step = round_inputs(x, matrix->inputs, rounded);
        *cost += matrix->inputs;
    }
    for (size_t i = first; i < last; i++, row += matrix->inputs)
        y[i] = task->step * matrix->scales[i] * (float)dot(row, rounded, matrix->inputs) + matrix->bias[i];
    task->row = last < matrix->outputs ? (uint32_t)last : 0;
    return task->row == 0;
}

#else

static int apply_part(haaqi_task *task, int16_t *rounded, const dense *matrix, const float *x, float *y, uint32_t *cost)
{
    size_t rows = STEP_PRODUCTS > matrix->inputs ? STEP_PRODUCTS / matrix->inputs : 1, first = task->row;
    size_t last = first + rows < matrix->outputs ? first + rows : matrix->outputs;
    const weight *row = matrix->weights + first * matrix->inputs;
    (void)rounded;
    *cost = (uint32_t)((last - first) * matrix->inputs);
    for (size_t i = first; i < last; i++, row += matrix->inputs)
        y[i] = product(row, x, matrix->inputs) + matrix->bias[i];
    task->row = last < matrix->outputs ? (uint32_t)last : 0;
    return task->row == 0;
}

#endif

static float sum(const float *x, size_t n)
{
    float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        a += x[i];
        b += x[i + 1];
        c += x[i + 2];
        d += x[i + 3];
    }
    for (i = n - n % 4; i < n; i++) /* in this form, gcc -O3 does not warn where n is constant */
        a += x[i];
    return (a + b) + (c + d);
}

static float sum_of_squares(const float *x, size_t n)
{
    float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        a += x[i] * x[i];
        b += x[i + 1] * x[i + 1];
        c += x[i + 2] * x[i + 2];
        d += x[i + 3] * x[i + 3];
    }
    for (i = n - n % 4; i < n; i++) /* in this form, gcc -O3 does not warn where n is constant */
        a += x[i] * x[i];
    return (a + b) + (c + d);
}

/* Return whether -below <= *x <= above; both limits are positive or zero. The bits are compared, in which a NaN is
 * larger than any limit: with -ffast-math, a compiler assumes that comparisons never see a NaN. */
static int is_within(const float *x, float below, float above)
{
    uint32_t bits, limit;
    memcpy(&bits, x, sizeof bits);
    memcpy(&limit, bits >> 31 ? &below : &above, sizeof limit);
    return (bits & 0x7FFFFFFFu) <= limit;
}

static float square(float x)
{
    return x * x;
}

static float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

static void relu(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (x[i] < 0.0f)
            x[i] = 0.0f;
}

/* Layer normalisation (Ba et al. 2016). */
static void normalise(float *x, size_t n, const float *gain, const float *shift)
{
    float mean = sum(x, n) / (float)n;
    for (size_t i = 0; i < n; i++)
        x[i] -= mean;
    float factor = 1.0f / sqrtf(sum_of_squares(x, n) / (float)n + HAAQI_NORM_EPSILON);
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] * factor * gain[i] + shift[i];
}

/* Fourier transform of n complex numbers, a power of two, in place: radix 2, decimation in time. First the order of the
 * numbers is bit-reversed. Then stages combine transforms of `half` numbers. */
static void reverse_bits(float (*z)[2], size_t n)
{
    for (size_t i = 1, j = 0; i < n; i++) {
        size_t bit = n >> 1;
        for (; j & bit; bit >>= 1)
            j ^= bit;
        j ^= bit;
        if (i < j) {
            float re = z[i][0], im = z[i][1];
            z[i][0] = z[j][0];
            z[i][1] = z[j][1];
            z[j][0] = re;
            z[j][1] = im;
        }
    }
}

static void fourier_stage(float (*z)[2], size_t n, size_t half)
{
    size_t step = HAAQI_SPECTRUM / (2 * half);
    for (size_t k = 0; k < half; k++) {
        float c = turns[k * step][0], s = turns[k * step][1];
        for (size_t i = k; i < n; i += 2 * half) {
            float re = c * z[i + half][0] - s * z[i + half][1];
            float im = c * z[i + half][1] + s * z[i + half][0];
            z[i + half][0] = z[i][0] - re;
            z[i + half][1] = z[i][1] - im;
            z[i][0] += re;
            z[i][1] += im;
        }
    }
}

/* Split the transform of n samples, which were transformed as n / 2 complex numbers, and compute the powers of bins
 * first to last - 1, 0 to n / 4, and of those that mirror them. The power of bin k, 0 to n / 2, is stored at x[2 k], so
 * that x has n + 2 values. */
static void split_spectrum(float *x, size_t n, size_t first, size_t last)
{
    size_t half = n / 2, step = HAAQI_SPECTRUM / n;
    if (first == 0) {
        float even = x[0], odd = x[1];
        x[0] = square(even + odd);
        x[n] = square(even - odd);
        first = 1;
    }
    for (size_t k = first; k < last; k++) {
        float *low = x + 2 * k, *high = x + 2 * (half - k);
        float c = turns[k * step][0], s = turns[k * step][1];
        float even_re = 0.5f * (low[0] + high[0]), even_im = 0.5f * (low[1] - high[1]);
        float odd_re = 0.5f * (low[1] + high[1]), odd_im = 0.5f * (high[0] - low[0]);
        float re = c * odd_re - s * odd_im, im = c * odd_im + s * odd_re;
        low[0] = square(even_re + re) + square(even_im + im);
        high[0] = square(even_re - re) + square(even_im - im);
    }
}

/* Multiply n samples by a symmetric window, given by its first half. */
static void apply_window(const float *samples, const float *window, float *x, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        x[i] = samples[i] * window[i];
        x[n - 1 - i] = samples[n - 1 - i] * window[i];
    }
}

/* ---- front end: the texture of a patch, planes by bands ---- */

enum { /* planes of the texture */
    LEVEL,
    TONALITY,
    PEAK,
    VALLEY,
    MODULATION,
    DIP = MODULATION + HAAQI_RATES,
    SWELL,
    FLUCTUATION,
    LOUDNESS,
    CREST,
    KURTOSIS
};

/* Return the floor of the long spectrum's powers. */
static float spectral_floor(const float *spectrum)
{
    float total = 0.0f;
    for (size_t band = 0; band < HAAQI_BANDS; band++) {
        float part = 0.0f;
        for (size_t k = long_starts[band]; k < long_starts[band + 1]; k++)
            part += spectrum[2 * k];
        total += part;
    }
    return HAAQI_RELATIVE_FLOOR * total + HAAQI_FLOOR * (float)HAAQI_SPECTRUM;
}

/* Compute level, tonality, peak and valley of a band. Returns the number of its bins. */
static size_t spectral_planes(const float *spectrum, float floor, size_t band, float (*planes)[HAAQI_BANDS])
{
    size_t start = long_starts[band], stop = long_starts[band + 1];
    float power = 0.0f, logs = 0.0f, lowest = spectrum[2 * start], highest = lowest;
    for (size_t k = start; k < stop; k++) {
        float here = spectrum[2 * k];
        power += here + floor;
        logs += logf(here + floor);
        lowest = here < lowest ? here : lowest;
        highest = here > highest ? here : highest;
    }
    float level = logf(power / (float)(stop - start));
    planes[LEVEL][band] = level;
    planes[TONALITY][band] = level - logs / (float)(stop - start);
    planes[PEAK][band] = logf(highest + floor) - level;
    planes[VALLEY][band] = level - logf(lowest + floor);
    return stop - start;
}

/* Compute the logarithmic powers of the bands in a frame. */
static void take_frame(const float *samples, size_t i, float *frame, float (*envelope)[HAAQI_FRAMES])
{
    apply_window(samples + i * HAAQI_HOP, short_window, frame, HAAQI_FRAME);
    reverse_bits((float (*)[2])frame, HAAQI_FRAME / 2);
    for (size_t half = 1; half < HAAQI_FRAME / 2; half *= 2)
        fourier_stage((float (*)[2])frame, HAAQI_FRAME / 2, half);
    split_spectrum(frame, HAAQI_FRAME, 0, HAAQI_FRAME / 4 + 1);
    for (size_t band = 0; band < HAAQI_BANDS; band++) {
        float power = HAAQI_FLOOR * (float)HAAQI_FRAME;
        for (size_t k = short_starts[band]; k < short_starts[band + 1]; k++)
            power += short_weights[k] * frame[2 * short_bins[k]];
        envelope[band][i] = logf(power);
    }
}

/* Compute modulations, dip, swell and fluctuation of the envelope of a band. */
static void modulation_planes(float *x, size_t band, float (*planes)[HAAQI_BANDS])
{
    float mean = sum(x, HAAQI_FRAMES) / (float)HAAQI_FRAMES, lowest = 0.0f, highest = 0.0f;
    for (size_t i = 0; i < HAAQI_FRAMES; i++) {
        x[i] -= mean;
        lowest = x[i] < lowest ? x[i] : lowest;
        highest = x[i] > highest ? x[i] : highest;
    }
    for (size_t rate = 0; rate < HAAQI_RATES; rate++) {
        float strength = 0.0f;
        for (size_t bin = rate_starts[rate]; bin < rate_starts[rate + 1]; bin++)
            for (size_t part = 0; part < 2; part++) {
                float product = 0.0f;
                for (size_t i = 0; i < HAAQI_FRAMES; i++)
                    product += rate_kernel[part][bin][i] * x[i];
                strength += square(product);
            }
        strength /= (float)(rate_starts[rate + 1] - rate_starts[rate]);
        planes[MODULATION + rate][band] = logf(strength + HAAQI_MODULATION_FLOOR);
    }
    planes[DIP][band] = -lowest;
    planes[SWELL][band] = highest;
    planes[FLUCTUATION][band] = sqrtf(sum_of_squares(x, HAAQI_FRAMES) / (float)HAAQI_FRAMES);
}

#if HAAQI_TEXTURE == 2
/* Remove mean, drift and rumble of a patch: its least-squares fit by slow curves. A curve is stored as the coefficients
 * of its polynomials in all segments, in `curve`. First the patch is projected on the polynomials, segment by segment,
 * then on the curves. Then the curve is subtracted. */
static void project_segment(const float *samples, size_t at, float *curve)
{
    for (size_t power = 0; power < HAAQI_SEGMENT_POWERS; power++)
        curve[at * HAAQI_SEGMENT_POWERS + power] = product(polynomials[power], samples + at * HAAQI_SEGMENT, HAAQI_SEGMENT);
}

static void fit_curve(float *curve)
{
    const size_t size = HAAQI_SEGMENTS * HAAQI_SEGMENT_POWERS;
    float weights[HAAQI_TREND];
    for (size_t row = 0; row < HAAQI_TREND; row++)
        weights[row] = product(trend[row], curve, size);
    memset(curve, 0, size * sizeof *curve);
    for (size_t row = 0; row < HAAQI_TREND; row++)
        for (size_t i = 0; i < size; i++)
            curve[i] += weights[row] * trend[row][i];
}

static void subtract_segment(float *samples, size_t at, const float *curve)
{
    curve += at * HAAQI_SEGMENT_POWERS;
    samples += at * HAAQI_SEGMENT;
    for (size_t i = 0; i < HAAQI_SEGMENT; i++) {
        float value = 0.0f;
        for (size_t power = 0; power < HAAQI_SEGMENT_POWERS; power++)
            value += curve[power] * polynomials[power][i];
        samples[i] -= value;
    }
}
#endif

/* Compute loudness, crest and kurtosis of the patch from its mean square, its largest square, and the mean of the fourth
 * powers. All bands get the same. */
static void level_planes(float power, float highest, float fourth, float (*planes)[HAAQI_BANDS])
{
    float loudness = 0.5f * logf(power), crest = 0.5f * logf((highest + HAAQI_FLOOR) / power);
    float kurtosis = logf(fourth + HAAQI_MODULATION_FLOOR);
    for (size_t band = 0; band < HAAQI_BANDS; band++) {
        planes[LOUDNESS][band] = loudness;
        planes[CREST][band] = crest;
        planes[KURTOSIS][band] = kurtosis;
    }
}

/* ---- encoder: from a patch to a token, in steps ---- */

enum { /* phases; a phase has one or more steps, which `index` counts */
    NO_PATCH,
    POWER,
#if HAAQI_TEXTURE == 2
    PROJECT,
    FIT,
    SUBTRACT,
    POWER_LEFT,
#endif
    LONG_WINDOW,
    LONG_STAGE,
    LONG_SPLIT,
    LONG_FLOOR,
    LONG_BAND,
    FRAME,
    MODULATIONS,
    FOURTH,
    TEXTURE,
    LAYER
};

enum { POWER_CHUNKS = 16, POWER_CHUNK = HAAQI_PATCH_LENGTH / POWER_CHUNKS, SPLIT_BINS = HAAQI_SPECTRUM / 16 };

/* Go on to the next step of a phase of `steps` steps, or to the next phase. */
static void advance(haaqi_task *task, uint32_t steps)
{
    if (++task->index >= steps) {
        task->index = 0;
        task->phase++;
    }
}

/* Add four chunks to the mean square of the patch and to its largest square. */
static void add_powers(haaqi_nano *stream, size_t index)
{
    if (index == 0)
        stream->mean_square = stream->highest = 0.0f;
    for (size_t chunk = 4 * index; chunk < 4 * index + 4; chunk++) {
        const float *samples = stream->samples + chunk * POWER_CHUNK;
        for (size_t i = 0; i < POWER_CHUNK; i++)
            stream->highest = square(samples[i]) > stream->highest ? square(samples[i]) : stream->highest;
        stream->mean_square += sum_of_squares(samples, POWER_CHUNK);
    }
    if (index == 3)
        stream->mean_square /= (float)HAAQI_PATCH_LENGTH;
}

/* Complete the texture, after which the samples are not needed any more. */
static void finish_texture(haaqi_nano *stream, float *levels)
{
    float *texture = stream->work.encoder.texture;
    float (*planes)[HAAQI_BANDS] = (float (*)[HAAQI_BANDS])texture;
    level_planes(stream->mean_square + HAAQI_FLOOR, stream->highest, stream->fourth / (float)HAAQI_PATCH_LENGTH, planes);
    for (size_t band = 0; band < HAAQI_BANDS; band++) /* dB SPL / HAAQI_LEVEL_UNIT */
        levels[band] = HAAQI_LEVEL_FACTOR * planes[LEVEL][band] + level_offset[band];
    for (size_t i = 0; i < HAAQI_PLANES * HAAQI_BANDS; i++)
        texture[i] = (texture[i] - texture_mean[i]) * texture_scale[i];
#if HAAQI_TEXTURE == 2
    memcpy(stream->samples, stream->tail, sizeof stream->tail);
#else
    memcpy(stream->samples, stream->samples + HAAQI_PATCH_SHIFT,
           (HAAQI_PATCH_LENGTH - HAAQI_PATCH_SHIFT) * sizeof stream->samples[0]);
#endif
    stream->stored = HAAQI_PATCH_LENGTH - HAAQI_PATCH_SHIFT;
}

/* Make the token available to scores. */
static void finish_patch(haaqi_nano *stream)
{
    stream->power = stream->patch_power;
    stream->quiet = sqrtf(stream->patch_highest) > stream->silence ? 0 : stream->quiet + (stream->quiet < HAAQI_WINDOW);
    stream->next = (stream->next + 1) % HAAQI_SLOTS;
    stream->count += stream->count < HAAQI_WINDOW;
    stream->age++;
    stream->encoding.phase = NO_PATCH;
}

/* Do the next step, and return its number of operations. */
static uint32_t encode_step(haaqi_nano *stream)
{
    haaqi_task *task = &stream->encoding;
    float *token = stream->tokens[stream->next], *texture = stream->work.encoder.texture;
    float *spectrum = stream->work.encoder.at.spectrum;
    float (*planes)[HAAQI_BANDS] = (float (*)[HAAQI_BANDS])texture;
    uint32_t index = task->index, cost = 0;
    switch (task->phase) {
    case POWER: /* level and silence refer to the original samples */
        add_powers(stream, index);
        stream->patch_power = stream->mean_square;
        stream->patch_highest = stream->highest;
#if HAAQI_TEXTURE == 2
        if (index == 0)
            memcpy(stream->tail, stream->samples + HAAQI_PATCH_SHIFT, sizeof stream->tail);
#endif
        advance(task, POWER_CHUNKS / 4);
        return 3 * 4 * POWER_CHUNK;
#if HAAQI_TEXTURE == 2
    case PROJECT:
        for (size_t at = 4 * index; at < HAAQI_SEGMENTS && at < 4 * index + 4; at++)
            project_segment(stream->samples, at, stream->work.encoder.at.curve);
        advance(task, (HAAQI_SEGMENTS + 3) / 4);
        return 4 * HAAQI_SEGMENT_POWERS * HAAQI_SEGMENT;
    case FIT:
        fit_curve(stream->work.encoder.at.curve);
        advance(task, 1);
        return 2 * HAAQI_TREND * HAAQI_SEGMENTS * HAAQI_SEGMENT_POWERS;
    case SUBTRACT:
        for (size_t at = 4 * index; at < HAAQI_SEGMENTS && at < 4 * index + 4; at++)
            subtract_segment(stream->samples, at, stream->work.encoder.at.curve);
        advance(task, (HAAQI_SEGMENTS + 3) / 4);
        return 4 * HAAQI_SEGMENT_POWERS * HAAQI_SEGMENT;
    case POWER_LEFT:
        add_powers(stream, index);
        advance(task, POWER_CHUNKS / 4);
        return 3 * 4 * POWER_CHUNK;
#endif
    case LONG_WINDOW: /* of the middle of the patch */
        apply_window(stream->samples + (HAAQI_PATCH_LENGTH - HAAQI_SPECTRUM) / 2, long_window, spectrum, HAAQI_SPECTRUM);
        reverse_bits((float (*)[2])spectrum, HAAQI_SPECTRUM / 2);
        advance(task, 1);
        return 3 * HAAQI_SPECTRUM;
    case LONG_STAGE:
        fourier_stage((float (*)[2])spectrum, HAAQI_SPECTRUM / 2, (size_t)1 << index);
        if ((size_t)2 << index == HAAQI_SPECTRUM / 2)
            advance(task, 1);
        else
            task->index++;
        return HAAQI_SPECTRUM;
    case LONG_SPLIT:
        split_spectrum(spectrum, HAAQI_SPECTRUM, index * SPLIT_BINS, (index + 1) * SPLIT_BINS + (index == 3));
        advance(task, 4);
        return 12 * SPLIT_BINS;
    case LONG_FLOOR:
        stream->floor = spectral_floor(spectrum);
        advance(task, 1);
        return HAAQI_SPECTRUM / 2;
    case LONG_BAND:
        cost = (uint32_t)spectral_planes(spectrum, stream->floor, index, planes);
        advance(task, HAAQI_BANDS);
        return (cost + 3) * FUNCTION;
    case FRAME:
        take_frame(stream->samples, index, stream->work.encoder.at.frames.frame, stream->work.encoder.at.frames.envelope);
        advance(task, HAAQI_FRAMES);
        return 15 * HAAQI_FRAME + HAAQI_SHORT_BINS + FUNCTION * HAAQI_BANDS;
    case MODULATIONS:
        modulation_planes(stream->work.encoder.at.frames.envelope[index], index, planes);
        advance(task, HAAQI_BANDS);
        return 2 * HAAQI_RATE_BINS * HAAQI_FRAMES + 4 * HAAQI_FRAMES + FUNCTION * (HAAQI_RATES + 1);
    case FOURTH: {
        float power = stream->mean_square + HAAQI_FLOOR, fourth = index == 0 ? 0.0f : stream->fourth;
        for (size_t i = index * 4 * POWER_CHUNK; i < (index + 1) * 4 * POWER_CHUNK; i++)
            fourth += square(square(stream->samples[i]) / power);
        stream->fourth = fourth;
        advance(task, POWER_CHUNKS / 4);
        return 3 * 4 * POWER_CHUNK;
    }
    case TEXTURE:
        finish_texture(stream, token + HAAQI_VECTOR);
        advance(task, 1);
        return 2 * HAAQI_PLANES * HAAQI_BANDS + HAAQI_PATCH_LENGTH - HAAQI_PATCH_SHIFT;
    default: { /* LAYER; the last one writes the token */
        const layer *one = &encoder_layers[index];
        float (*units)[HAAQI_UNITS] = stream->work.encoder.at.units;
        float *y = index + 1 == HAAQI_LAYERS ? token : units[index % 2];
        if (apply_part(task, HAAQI_ROUNDED(encoder), &one->product, index == 0 ? texture : units[(index + 1) % 2], y, &cost)) {
            normalise(y, one->product.outputs, one->gain, one->shift);
            cost += 4 * one->product.outputs;
            if (++task->index == HAAQI_LAYERS)
                finish_patch(stream);
            else
                relu(y, one->product.outputs);
        }
        return cost;
    }
    }
}

static void start_patch(haaqi_nano *stream)
{
    memset(&stream->encoding, 0, sizeof stream->encoding);
    stream->encoding.phase = POWER;
}

/* ---- head: from a window of tokens and an audiogram to scores, in steps ---- */

enum { /* phases */
    NO_REQUEST,
    FILM,    /* scale and shift of the vectors */
    CONDITION,
    INPUT,
    STATE,
    GATES,
    SHARES,
    COMPLETE
};

enum { SHARES_PER_STEP = 32 };

/* Write the inputs of the product that combines a token with the listener's thresholds. */
static void hear(haaqi_nano *stream, const float *token)
{
    const float *levels = token + HAAQI_VECTOR;
    float *audible = stream->work.head.audible;
    for (size_t band = 0; band < HAAQI_BANDS; band++) {
        float above = levels[band] - stream->work.head.threshold[band];
        audible[band] = tanhf(above);
        audible[HAAQI_BANDS + band] = above > 0.0f ? above : 0.0f;
    }
}

/* Complete one step of a gated recurrent unit (Cho et al. 2014, as in PyTorch and cuDNN). */
static void update_state(haaqi_nano *stream)
{
    const float *input = stream->work.head.gates[0], *recurrent = stream->work.head.gates[1];
    float *state = stream->work.head.state;
    for (size_t i = 0; i < HAAQI_HIDDEN; i++) {
        size_t update = HAAQI_HIDDEN + i, candidate = 2 * HAAQI_HIDDEN + i;
        float reset = sigmoid(input[i] + recurrent[i]);
        float keep = sigmoid(input[update] + recurrent[update]);
        float fresh = tanhf(input[candidate] + reset * recurrent[candidate]);
        state[i] = fresh + keep * (state[i] - fresh);
    }
}

#if HAAQI_INTERVAL

/* Return what the listener's group, by the mean hearing loss, adds to the distances from a score to its ends. */
static float group_margin(const float *audiogram)
{
    float loss = 0.0f, margin = interval_margins[0];
    for (size_t i = 0; i < HAAQI_LEVELS; i++)
        loss += loss_weights[i] * audiogram[i];
    for (size_t i = 0; i < HAAQI_GROUPS; i++)
        if (loss >= loss_groups[i])
            margin += interval_margins[i + 1];
    return margin;
}

/* Replace the sums by the ends of the interval. */
static void complete_interval(haaqi_nano *stream)
{
    float score = stream->weighed / stream->total, distance[2];
    for (size_t k = 0; k < 2; k++) {
        float x = stream->ends[k] / stream->total + interval_bias[k];
        distance[k] = (x > 20.0f ? x : logf(1.0f + expf(x))) + stream->margin;
        distance[k] = distance[k] > 0.0f ? distance[k] : 0.0f;
    }
    stream->ends[0] = score > distance[0] ? score - distance[0] : 0.0f;
    stream->ends[1] = score + distance[1] < 1.0f ? score + distance[1] : 1.0f;
}

#endif

/* Start a score: compute the thresholds in the bands and the first layer of the conditioning from the audiogram. */
static haaqi_status start_score(haaqi_nano *stream, const float *audiogram)
{
    float loss[HAAQI_FREQUENCIES], *threshold = stream->work.head.threshold;
    haaqi_task *task = &stream->scoring;
    uint32_t cost;
    for (size_t i = 0; i < HAAQI_LEVELS; i++)
        if (!is_within(audiogram + i, 10.0f, 120.0f))
            return HAAQI_BAD_AUDIOGRAM;
    if (stream->count == 0)
        return HAAQI_TOO_SHORT;
    if (stream->quiet >= stream->count)
        return HAAQI_SILENT;
    memset(threshold, 0, sizeof stream->work.head.threshold);
    for (size_t i = 0; i < HAAQI_FREQUENCIES; i++) {
        for (size_t band = 0; band < HAAQI_BANDS; band++)
            threshold[band] += threshold_weights[i][band] * audiogram[frequencies[i]];
        loss[i] = audiogram[frequencies[i]] / HAAQI_LOSS_UNIT;
    }
    for (size_t band = 0; band < HAAQI_BANDS; band++)
        threshold[band] = threshold[band] > 0.0f ? threshold[band] / HAAQI_LEVEL_UNIT : 0.0f;
    memset(task, 0, sizeof *task);
    while (!apply_part(task, HAAQI_ROUNDED(head), &conditioning[0], loss, stream->work.head.condition, &cost))
        ;
    relu(stream->work.head.condition, HAAQI_CONDITION);
    for (size_t i = 0; i < stream->count; i++) {
        stream->work.head.frame[i] = HAAQI_FRAME_BIAS;
        stream->work.head.share[i] = 0.0f; /* the softmax removes its bias */
    }
#if HAAQI_INTERVAL
    stream->margin = group_margin(audiogram);
    memset(stream->work.head.ends, 0, sizeof stream->work.head.ends);
#endif
    stream->first = (stream->next + HAAQI_SLOTS - stream->count) % HAAQI_SLOTS;
    stream->length = stream->count;
    stream->age = 0;
    task->phase = FILM;
    return HAAQI_OK;
}

/* Do the next step, and return its number of operations. Both directions of the GRU run, one token after the other,
 * `index` counts the tokens. Only their contributions to the two outputs are stored. The conditioned token is computed
 * once per direction, because storing it for the window would need more memory. */
static uint32_t score_step(haaqi_nano *stream)
{
    haaqi_task *task = &stream->scoring;
    float *frame = stream->work.head.frame, *share = stream->work.head.share;
    float *film = stream->work.head.film, *vector = stream->work.head.vector, *state = stream->work.head.state;
    size_t length = stream->length, direction = task->index >= length, at = task->index - direction * length;
    size_t i = direction == 0 ? at : length - 1 - at;
    const float *token = stream->tokens[(stream->first + i) % HAAQI_SLOTS];
    uint32_t cost = 0, extra = 0;
    switch (task->phase) {
    case FILM:
        if (apply_part(task, HAAQI_ROUNDED(head), &conditioning[1], stream->work.head.condition, film, &cost))
            task->phase++;
        return cost;
    case CONDITION:
        if (task->row == 0) {
            hear(stream, token);
            extra = FUNCTION * HAAQI_BANDS;
        }
        if (apply_part(task, HAAQI_ROUNDED(head), &audibility, stream->work.head.audible, vector, &cost)) {
            for (size_t k = 0; k < HAAQI_VECTOR; k++)
                vector[k] += token[k] * (1.0f + film[k]) + film[HAAQI_VECTOR + k];
            relu(vector, HAAQI_VECTOR);
            extra += 2 * HAAQI_VECTOR;
            task->phase++;
        }
        return cost + extra;
    case INPUT:
        if (apply_part(task, HAAQI_ROUNDED(head), &directions[direction].input, vector, stream->work.head.gates[0], &cost))
            task->phase++;
        return cost;
    case STATE:
        if (at == 0 && task->row == 0)
            memset(state, 0, sizeof stream->work.head.state);
        if (apply_part(task, HAAQI_ROUNDED(head), &directions[direction].state, state, stream->work.head.gates[1], &cost))
            task->phase++;
        return cost;
    case GATES:
        update_state(stream);
        for (size_t k = 0; k < HAAQI_HIDDEN; k++) {
            frame[i] += frame_weights[direction][k] * state[k];
            share[i] += share_weights[direction][k] * state[k];
#if HAAQI_INTERVAL
            stream->work.head.ends[0][i] += interval_weights[0][direction][k] * state[k];
            stream->work.head.ends[1][i] += interval_weights[1][direction][k] * state[k];
#endif
        }
        if (++task->index < 2 * length) {
            task->phase = CONDITION;
        } else {
            task->index = 0;
            task->phase = SHARES;
        }
        return (3 * FUNCTION + 4 + 2 * (HAAQI_INTERVAL > 0)) * HAAQI_HIDDEN;
    default: { /* SHARES: the mean of the frame scores, weighted by the softmax of their shares */
        size_t start = task->index * SHARES_PER_STEP, stop = start + SHARES_PER_STEP;
        stop = stop < length ? stop : length;
        if (start == 0) {
            stream->max_share = share[0];
            stream->total = stream->weighed = 0.0f;
#if HAAQI_INTERVAL
            stream->ends[0] = stream->ends[1] = 0.0f;
#endif
            for (size_t k = 1; k < length; k++)
                stream->max_share = share[k] > stream->max_share ? share[k] : stream->max_share;
        }
        for (size_t k = start; k < stop; k++) {
            float part = expf(share[k] - stream->max_share);
            frame[k] = sigmoid(frame[k]);
            stream->total += part;
            stream->weighed += part * frame[k];
#if HAAQI_INTERVAL
            stream->ends[0] += part * stream->work.head.ends[0][k];
            stream->ends[1] += part * stream->work.head.ends[1][k];
#endif
        }
#if HAAQI_INTERVAL
        if (stop == length)
            complete_interval(stream);
#endif
        advance(task, (uint32_t)((length + SHARES_PER_STEP - 1) / SHARES_PER_STEP));
        return 2 * FUNCTION * SHARES_PER_STEP + HAAQI_WINDOW;
    }
    }
}

/* Get the completed score. */
static haaqi_status take_result(const haaqi_nano *stream, float *score, float *frame_scores)
{
    const float *frame = stream->work.head.frame;
    float result = stream->weighed / stream->total;
    if (stream->scoring.phase == NO_REQUEST)
        return HAAQI_NOT_REQUESTED;
    if (stream->scoring.phase != COMPLETE)
        return HAAQI_BUSY;
    for (size_t i = 0; i < stream->length; i++)
        if (!is_within(frame + i, 0.0f, 1.0001f))
            return HAAQI_NO_SCORE;
    if (!is_within(&result, 0.0f, 1.0001f))
        return HAAQI_NO_SCORE;
    *score = result;
    if (frame_scores != NULL)
        memcpy(frame_scores, frame, stream->length * sizeof frame[0]);
    return HAAQI_OK;
}

/* ---- filters: from the input to the samples of a patch ---- */

#if HAAQI_NALR || HAAQI_DECIMATE

/* Add a sample to the last 2 reach + 1 ones, and return them, the oldest first. Each is stored twice, so that they are
 * in order at any place. */
static const float *add_sample(float *last, uint32_t *place, uint32_t reach, float x)
{
    uint32_t count = 2 * reach + 1;
    last[*place] = last[*place + count] = x;
    *place = *place + 1 < count ? *place + 1 : 0;
    return last + *place;
}

/* Apply a symmetric filter of 2 reach + 1 taps, given by its first half and the middle tap. */
static float filter(const float *taps, const float *x, size_t reach)
{
    float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f;
    const float *mirrored = x + 2 * reach;
    size_t i = 0;
    for (; i + 4 <= reach; i += 4, mirrored -= 4) {
        a += taps[i] * (x[i] + mirrored[0]);
        b += taps[i + 1] * (x[i + 1] + mirrored[-1]);
        c += taps[i + 2] * (x[i + 2] + mirrored[-2]);
        d += taps[i + 3] * (x[i + 3] + mirrored[-3]);
    }
    for (; i < reach; i++, mirrored--)
        a += taps[i] * (x[i] + mirrored[0]);
    return ((a + b) + (c + d)) + taps[reach] * x[reach];
}

#endif

/* Process a sample of the input, and return the number of operations. */
static uint32_t take_sample(haaqi_nano *stream, float x)
{
    uint32_t cost = 1;
#if HAAQI_DECIMATE
    const float *input = add_sample(stream->input, &stream->input_place, HAAQI_DECIMATOR_REACH, x);
    if (stream->input_wait > 0) {
        stream->input_wait--;
        return cost;
    }
    stream->input_wait = HAAQI_DECIMATION - 1;
    x = filter(decimator, input, HAAQI_DECIMATOR_REACH);
    cost += 2 * HAAQI_DECIMATOR_REACH + 1;
#endif
    x *= stream->gain;
#if HAAQI_NALR
    const float *unamplified = add_sample(stream->unamplified, &stream->unamplified_place, HAAQI_NALR_REACH, x);
    if (stream->unamplified_wait > 0) {
        stream->unamplified_wait--;
        return cost;
    }
    x = filter(stream->nalr, unamplified, HAAQI_NALR_REACH);
    cost += 2 * HAAQI_NALR_REACH + 1;
#endif
    stream->samples[stream->stored++] = x;
    return cost;
}

#if HAAQI_NALR

/* Return the gain of NAL-R at frequency `point` of the 2 HAAQI_NALR_REACH + 1 ones at which it is specified, from 0 to
 * half the sample rate. gains: in dB, at nalr_frequencies, between which they are linear. */
static float gain_at(const float *gains, size_t point)
{
    float hertz = (float)HAAQI_SAMPLE_RATE / 2.0f * (float)point / (2.0f * (float)HAAQI_NALR_REACH), decibel = gains[0];
    for (size_t i = 1; i < HAAQI_NALR_GAINS; i++) {
        float part = (hertz - nalr_frequencies[i - 1]) / (nalr_frequencies[i] - nalr_frequencies[i - 1]);
        part = part < 0.0f ? 0.0f : part > 1.0f ? 1.0f : part;
        decibel += part * (gains[i] - gains[i - 1]);
    }
    return expf(decibel * 0.11512925f); /* ln(10) / 20 */
}

/* Add one frequency of the design to the taps: a cosine around the middle tap. */
static void add_cosine(float *taps, uint32_t k, float amplitude)
{
    const uint32_t half = HAAQI_SPECTRUM / 2, turn = k * (half / (HAAQI_NALR_GRID - 1));
    for (uint32_t m = 0, at = 0; m <= HAAQI_NALR_REACH; m++, at = (at + turn) % HAAQI_SPECTRUM)
        taps[HAAQI_NALR_REACH - m] += amplitude * (at < half ? turns[at][0] : -turns[at - half][0]);
}

#endif

/* ---- queue and work ---- */

#if HAAQI_QUEUE

enum { MOVES_PER_STEP = HAAQI_FILTER_OPERATIONS > 0 ? STEP_PRODUCTS : 512 }; /* operations, less those of the last move */

/* Only haaqi_push changes `written`, and only work changes `taken`: one may interrupt the other. */
static uint32_t position(const volatile uint32_t *at)
{
#ifdef __GNUC__
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
#else
    return *at;
#endif
}

static void set_position(volatile uint32_t *at, size_t value)
{
#ifdef __GNUC__
    __atomic_store_n(at, (uint32_t)value, __ATOMIC_RELEASE);
#else
    *at = (uint32_t)value;
#endif
}

/* Move samples from the queue to the patch, and return the number of operations. */
static uint32_t move_samples(haaqi_nano *stream)
{
    size_t taken = stream->taken, waiting = (position(&stream->written) + HAAQI_QUEUE + 1 - taken) % (HAAQI_QUEUE + 1);
    uint32_t cost = 0;
    for (; waiting > 0 && stream->stored < HAAQI_PATCH_LENGTH && cost < MOVES_PER_STEP; waiting--) {
        cost += take_sample(stream, stream->queue[taken]);
        taken = taken == HAAQI_QUEUE ? 0 : taken + 1;
    }
    set_position(&stream->taken, taken);
    return cost;
}

#endif

static int is_scoring(const haaqi_nano *stream)
{
    return stream->scoring.phase != NO_REQUEST && stream->scoring.phase != COMPLETE;
}

/* Do the next step of the work that waits. Returns its number of operations, or 0 if none waits. Patches come first,
 * unless a new token would replace one that a score still reads. */
static uint32_t work_step(haaqi_nano *stream)
{
#if HAAQI_QUEUE
    uint32_t moved = move_samples(stream);
    if (moved > 0)
        return moved;
#endif
    if (stream->encoding.phase == NO_PATCH && stream->stored == HAAQI_PATCH_LENGTH &&
        !(is_scoring(stream) && stream->age + stream->length >= HAAQI_SLOTS))
        start_patch(stream);
    if (stream->encoding.phase != NO_PATCH)
        return encode_step(stream);
    return is_scoring(stream) ? score_step(stream) : 0;
}

static void finish_work(haaqi_nano *stream)
{
    while (work_step(stream) > 0)
        ;
}

static int are_valid(const float *samples, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!is_within(samples + i, HAAQI_LOUDEST, HAAQI_LOUDEST))
            return 0;
    return 1;
}

/* Count samples of the input that arrived, and return the number of patches that they complete. */
static int count_patches(haaqi_nano *stream, size_t count)
{
    const size_t first = HAAQI_DECIMATION * (HAAQI_PATCH_LENGTH - 1) + 1 + HAAQI_DELAY;
    const size_t shift = HAAQI_DECIMATION * HAAQI_PATCH_SHIFT;
    size_t total = stream->arrived + count, patches = 0;
    if (total >= first) {
        patches = (total - first) / shift + 1;
        total -= patches * shift;
    }
    stream->arrived = (uint32_t)total;
    return (int)patches;
}

/* ---- public functions ---- */

/* The compiler checks the size that was computed on export. */
typedef char ram_is_as_said[sizeof(haaqi_nano) ==
                                    (HAAQI_QUEUE > 0 ? HAAQI_RAM + 4 * (HAAQI_QUEUE - HAAQI_QUEUE_DEFAULT) : HAAQI_RAM_SIMPLE) +
                                        (HAAQI_NALR ? HAAQI_NALR_RAM : 0) + (HAAQI_DECIMATE ? HAAQI_DECIMATE_RAM : 0)
                                ? 1
                                : -1];

haaqi_status haaqi_init(haaqi_nano *stream, float level1)
{
    volatile float stored_level = level1; /* its bits: a compiler may assume that an argument is not NaN */
    float level = stored_level;
    int good = is_within(&level, 0.0f, 140.0f);
    memset(stream, 0, sizeof *stream);
    stream->gain = good ? expf((level1 - HAAQI_LEVEL1) * 0.11512925f) : 1.0f; /* ln(10) / 20 */
    stream->silence = HAAQI_SILENCE * stream->gain;
#if HAAQI_DECIMATE
    stream->input_wait = HAAQI_DECIMATOR_REACH;
#endif
#if HAAQI_NALR
    stream->unamplified_wait = HAAQI_NALR_REACH;
    stream->nalr[HAAQI_NALR_REACH] = 1.0f; /* no amplification */
#endif
#if HAAQI_INTERVAL
    stream->ends[0] = 1.0f; /* above the upper end: there is no interval yet */
#endif
    return good ? HAAQI_OK : HAAQI_BAD_LEVEL;
}

#if HAAQI_NALR

/* The gains are those of Byrne & Dillon (1986), with the slope for severe losses. The filter is a frequency sampling
 * design, as MATLAB's fir2: the response is linear between its points on a fine grid. */
haaqi_status haaqi_amplify(haaqi_nano *stream, const float audiogram[HAAQI_LEVELS])
{
    const size_t points = 2 * HAAQI_NALR_REACH;
    float loss[HAAQI_NALR_GAINS], worst = 0.0f, total, low;
    for (size_t i = 0; i < HAAQI_LEVELS; i++)
        if (!is_within(audiogram + i, 10.0f, 120.0f))
            return HAAQI_BAD_AUDIOGRAM;
    for (size_t i = 0; i < HAAQI_NALR_GAINS; i++) {
        loss[i] = audiogram[nalr_levels[i]];
        worst = loss[i] > worst ? loss[i] : worst;
    }
    memset(stream->nalr, 0, sizeof stream->nalr);
    if (worst <= 0.0f) {
        stream->nalr[HAAQI_NALR_REACH] = 1.0f;
        return HAAQI_OK;
    }
    total = loss[1] + loss[2] + loss[3]; /* at 500, 1000 and 2000 Hz */
    total = total <= 180.0f ? 0.05f * total : 9.0f + 0.116f * (total - 180.0f);
    for (size_t i = 0; i < HAAQI_NALR_GAINS; i++) { /* from now on, `loss` holds gains in dB */
        loss[i] = total + 0.31f * loss[i] + nalr_bias[i];
        loss[i] = loss[i] > 0.0f ? loss[i] : 0.0f;
    }
    low = gain_at(loss, 0);
    for (size_t i = 0; i < points; i++) {
        size_t start = i * HAAQI_NALR_GRID / points, stop = (i + 1) * HAAQI_NALR_GRID / points;
        float high = gain_at(loss, i + 1), slope = stop - start > 1 ? (high - low) / (float)(stop - start - 1) : 0.0f;
        for (size_t k = start; k < stop; k++) {
            float middle = k == 0 || k == HAAQI_NALR_GRID - 1 ? 0.5f : 1.0f;
            add_cosine(stream->nalr, (uint32_t)k, middle * (low + slope * (float)(k - start)));
        }
        low = high;
    }
    for (size_t i = 0; i <= HAAQI_NALR_REACH; i++)
        stream->nalr[i] *= nalr_window[i] / (float)(HAAQI_NALR_GRID - 1);
    return HAAQI_OK;
}

#endif

int haaqi_process(haaqi_nano *stream, const float *samples, size_t count)
{
    if (!are_valid(samples, count))
        return HAAQI_BAD_SAMPLE;
    finish_work(stream);
    for (size_t i = 0; i < count; i++) {
        take_sample(stream, samples[i]);
        if (stream->stored == HAAQI_PATCH_LENGTH)
            finish_work(stream);
    }
    return count_patches(stream, count);
}

haaqi_status haaqi_score(haaqi_nano *stream, const float audiogram[HAAQI_LEVELS], float *score, float *frame_scores)
{
    haaqi_status status;
    finish_work(stream);
    status = start_score(stream, audiogram);
    if (status != HAAQI_OK)
        return status;
    finish_work(stream);
    status = take_result(stream, score, frame_scores);
    stream->scoring.phase = NO_REQUEST;
    return status;
}

#if HAAQI_QUEUE

int haaqi_push(haaqi_nano *stream, const float *samples, size_t count)
{
    size_t written = stream->written, taken = position(&stream->taken);
    if (count > (taken + HAAQI_QUEUE - written) % (HAAQI_QUEUE + 1))
        return HAAQI_FULL;
    if (!are_valid(samples, count))
        return HAAQI_BAD_SAMPLE;
    for (size_t i = 0; i < count; i++) {
        stream->queue[written] = samples[i];
        written = written == HAAQI_QUEUE ? 0 : written + 1;
    }
    set_position(&stream->written, written);
    return count_patches(stream, count);
}

int haaqi_work(haaqi_nano *stream, uint32_t budget)
{
    uint32_t used = 0;
    do {
        uint32_t cost = work_step(stream);
        if (cost == 0)
            return 0;
        used += cost;
    } while (budget >= HAAQI_STEP && used <= budget - HAAQI_STEP);
    return 1;
}

haaqi_status haaqi_request(haaqi_nano *stream, const float audiogram[HAAQI_LEVELS])
{
    return is_scoring(stream) ? HAAQI_BUSY : start_score(stream, audiogram);
}

haaqi_status haaqi_result(const haaqi_nano *stream, float *score, float *frame_scores)
{
    return take_result(stream, score, frame_scores);
}

#endif

#if HAAQI_INTERVAL

haaqi_status haaqi_interval(const haaqi_nano *stream, float *low, float *high)
{
    if (is_scoring(stream))
        return HAAQI_BUSY;
    if (!is_within(stream->ends, 0.0f, 1.0001f) || !is_within(stream->ends + 1, 0.0f, 1.0001f))
        return HAAQI_NO_SCORE;
    if (stream->ends[0] > stream->ends[1])
        return HAAQI_NOT_REQUESTED;
    *low = stream->ends[0];
    *high = stream->ends[1];
    return HAAQI_OK;
}

#endif

unsigned haaqi_patches(const haaqi_nano *stream)
{
    return (unsigned)stream->count;
}

haaqi_status haaqi_level(const haaqi_nano *stream, float *level)
{
    if (stream->count == 0)
        return HAAQI_TOO_SHORT;
    if (stream->quiet > 0)
        return HAAQI_SILENT;
    float result = HAAQI_LEVEL1 + 4.3429448f * logf(stream->power); /* 10 / ln(10) */
    if (!is_within(&result, 1e4f, 1e4f))
        return HAAQI_NO_SCORE;
    *level = result;
    return HAAQI_OK;
}
