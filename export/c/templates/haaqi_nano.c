/* haaqi_nano.c: see haaqi_nano.h. The code comes first, then the numbers: tables and trained weights.
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

/* ---- the numbers, which stand at the end of the file ---- */

#if HAAQI_INT8
typedef int8_t weight; /* times the scale of its row */
#else
typedef float weight;
#endif

/* A matrix [outputs][inputs] and what is added to its product. */
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

/* One direction of the GRU: of the input and of the state; gates reset, update and new. */
typedef struct gru {
    dense input, state;
} gru;

/* Of the front end: sine table as cosine and minus sine, halves of the symmetric windows, where bands begin among the
 * bins of the spectrum; bins that a frame's bands are summed up from; the modulations' kernel and where its bands
 * begin. */
static const float turns[HAAQI_SPECTRUM / 2][2];
static const float long_window[HAAQI_SPECTRUM / 2];
static const float short_window[HAAQI_FRAME / 2];
static const uint16_t long_starts[HAAQI_BANDS + 1];
static const uint16_t short_starts[HAAQI_BANDS + 1];
static const uint8_t short_bins[HAAQI_SHORT_BINS];
static const float short_weights[HAAQI_SHORT_BINS];
static const float rate_kernel[2][HAAQI_RATE_BINS][HAAQI_FRAMES];
static const uint8_t rate_starts[HAAQI_RATES + 1];
#if HAAQI_TEXTURE == 2
/* What is removed from a patch: polynomials over a segment of it, and the curves' coefficients of them in all segments. */
static const float polynomials[HAAQI_SEGMENT_POWERS][HAAQI_SEGMENT];
static const float trend[HAAQI_TREND][HAAQI_SEGMENTS * HAAQI_SEGMENT_POWERS];
#endif

/* Of the network. */
static const float texture_mean[HAAQI_PLANES * HAAQI_BANDS];
static const float texture_scale[HAAQI_PLANES * HAAQI_BANDS];
static const float level_offset[HAAQI_BANDS];
static const float threshold_weights[HAAQI_HEARD][HAAQI_BANDS];
static const uint8_t heard[HAAQI_HEARD];
static const layer encoder_layers[HAAQI_LAYERS];
static const dense conditioning[2];
static const dense audibility;
static const gru directions[2];
static const float frame_weights[2][HAAQI_HIDDEN];
static const float share_weights[2][HAAQI_HIDDEN];

/* ---- kernels ---- */

#if !HAAQI_INT8 || HAAQI_TEXTURE == 2
static float product(const float *w, const float *x, size_t n)
{
    float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f; /* four sums: they need not wait for each other */
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        a += w[i] * x[i];
        b += w[i + 1] * x[i + 1];
        c += w[i + 2] * x[i + 2];
        d += w[i + 3] * x[i + 3];
    }
    for (; i < n; i++)
        a += w[i] * x[i];
    return (a + b) + (c + d);
}
#endif

#if HAAQI_INT8

/* Where the i-th of n inputs lies among the rounded ones: pairs are read as weights of 8 bits come apart, first and
 * third of each four, then second and fourth. */
static size_t place(size_t i, size_t n)
{
    size_t within = i % 4;
    return HAAQI_PAIRS && i < n - n % 4 && (within == 1 || within == 2) ? i ^ 3 : i;
}

/* x in as many steps of 16 bits as n products with weights of 8 bits may have in a sum of 32; gives what a step is
 * worth. So fine that it costs nothing beside the weights' own rounding. */
static float round_inputs(const float *x, size_t n, int16_t *rounded)
{
    int32_t limit = INT32_MAX / (127 * (int32_t)n);
    float most = 1e-20f, factor;
    limit = limit < INT16_MAX ? limit : INT16_MAX;
    for (size_t i = 0; i < n; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    factor = (float)limit / most;
    for (size_t i = 0; i < n; i++) {
        float steps = x[i] * factor;
        rounded[place(i, n)] = (int16_t)(steps < 0.0f ? steps - 0.49999f : steps + 0.49999f);
    }
    return most / (float)limit;
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

static void apply(haaqi_nano *ear, const dense *matrix, const float *x, float *y)
{
    const weight *row = matrix->weights;
    float step = round_inputs(x, matrix->inputs, ear->rounded);
    for (size_t i = 0; i < matrix->outputs; i++, row += matrix->inputs)
        y[i] = step * matrix->scales[i] * (float)dot(row, ear->rounded, matrix->inputs) + matrix->bias[i];
}

#else

static void apply(haaqi_nano *ear, const dense *matrix, const float *x, float *y)
{
    const weight *row = matrix->weights;
    (void)ear;
    for (size_t i = 0; i < matrix->outputs; i++, row += matrix->inputs)
        y[i] = product(row, x, matrix->inputs) + matrix->bias[i];
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
    for (; i < n; i++)
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
    for (; i < n; i++)
        a += x[i] * x[i];
    return (a + b) + (c + d);
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

/* Fourier transform of n complex numbers, a power of two, in place: radix 2, decimation in time. */
static void fourier(float (*z)[2], size_t n)
{
    for (size_t i = 1, j = 0; i < n; i++) { /* the order of reversed bits */
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
    for (size_t half = 1; half < n; half *= 2) {
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
}

/* Power spectrum of n windowed samples in place: the power of bin k, 0 to n / 2, comes to lie at x[2 k], so that x has
 * two numbers more than samples. The samples are taken as n / 2 complex ones, whose transform is then split. */
static void power_spectrum(float *x, size_t n)
{
    size_t half = n / 2, step = HAAQI_SPECTRUM / n;
    fourier((float (*)[2])x, half);
    float even = x[0], odd = x[1];
    x[0] = square(even + odd);
    x[n] = square(even - odd);
    for (size_t k = 1; k <= half / 2; k++) {
        float *low = x + 2 * k, *high = x + 2 * (half - k);
        float c = turns[k * step][0], s = turns[k * step][1];
        float even_re = 0.5f * (low[0] + high[0]), even_im = 0.5f * (low[1] - high[1]);
        float odd_re = 0.5f * (low[1] + high[1]), odd_im = 0.5f * (high[0] - low[0]);
        float re = c * odd_re - s * odd_im, im = c * odd_im + s * odd_re;
        low[0] = square(even_re + re) + square(even_im + im);
        high[0] = square(even_re - re) + square(even_im - im);
    }
}

/* n samples under a symmetric window, of which half is given. */
static void windowed(const float *samples, const float *window, float *x, size_t n)
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

/* Level, tonality, peak and valley in the long spectrum of the middle of the patch. */
static void fine(const float *samples, float *spectrum, float (*told)[HAAQI_BANDS])
{
    windowed(samples + (HAAQI_PATCH_LENGTH - HAAQI_SPECTRUM) / 2, long_window, spectrum, HAAQI_SPECTRUM);
    power_spectrum(spectrum, HAAQI_SPECTRUM);
    float total = 0.0f;
    for (size_t band = 0; band < HAAQI_BANDS; band++) {
        float part = 0.0f;
        for (size_t k = long_starts[band]; k < long_starts[band + 1]; k++)
            part += spectrum[2 * k];
        total += part;
    }
    float floor = HAAQI_RELATIVE_FLOOR * total + HAAQI_FLOOR * (float)HAAQI_SPECTRUM;
    for (size_t band = 0; band < HAAQI_BANDS; band++) {
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
        told[LEVEL][band] = level;
        told[TONALITY][band] = level - logs / (float)(stop - start);
        told[PEAK][band] = logf(highest + floor) - level;
        told[VALLEY][band] = level - logf(lowest + floor);
    }
}

/* Modulations, dip, swell and fluctuation of the bands' envelopes. */
static void envelopes(const float *samples, float *frame, float (*envelope)[HAAQI_FRAMES], float (*told)[HAAQI_BANDS])
{
    for (size_t i = 0; i < HAAQI_FRAMES; i++) {
        windowed(samples + i * HAAQI_HOP, short_window, frame, HAAQI_FRAME);
        power_spectrum(frame, HAAQI_FRAME);
        for (size_t band = 0; band < HAAQI_BANDS; band++) {
            float power = HAAQI_FLOOR * (float)HAAQI_FRAME;
            for (size_t k = short_starts[band]; k < short_starts[band + 1]; k++)
                power += short_weights[k] * frame[2 * short_bins[k]];
            envelope[band][i] = logf(power);
        }
    }
    for (size_t band = 0; band < HAAQI_BANDS; band++) {
        float *x = envelope[band], lowest = 0.0f, highest = 0.0f; /* centred, it crosses 0 */
        float mean = sum(x, HAAQI_FRAMES) / (float)HAAQI_FRAMES;
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
            told[MODULATION + rate][band] = logf(strength + HAAQI_MODULATION_FLOOR);
        }
        told[DIP][band] = -lowest;
        told[SWELL][band] = highest;
        told[FLUCTUATION][band] = sqrtf(sum_of_squares(x, HAAQI_FRAMES) / (float)HAAQI_FRAMES);
    }
}

#if HAAQI_TEXTURE == 2
/* Remove a patch's mean, drift and rumble, its least-squares fit by slow curves. A curve is kept as the coefficients
 * of its polynomials in all segments, and `curve` is room for one. */
static void detrend(float *samples, float *curve)
{
    const size_t size = HAAQI_SEGMENTS * HAAQI_SEGMENT_POWERS;
    float weights[HAAQI_TREND];
    for (size_t i = 0; i < size; i++) {
        const float *segment = samples + i / HAAQI_SEGMENT_POWERS * HAAQI_SEGMENT;
        curve[i] = product(polynomials[i % HAAQI_SEGMENT_POWERS], segment, HAAQI_SEGMENT);
    }
    for (size_t row = 0; row < HAAQI_TREND; row++)
        weights[row] = product(trend[row], curve, size);
    memset(curve, 0, size * sizeof *curve);
    for (size_t row = 0; row < HAAQI_TREND; row++)
        for (size_t i = 0; i < size; i++)
            curve[i] += weights[row] * trend[row][i];
    for (size_t at = 0; at < HAAQI_SEGMENTS; at++, curve += HAAQI_SEGMENT_POWERS, samples += HAAQI_SEGMENT)
        for (size_t i = 0; i < HAAQI_SEGMENT; i++) {
            float value = 0.0f;
            for (size_t power = 0; power < HAAQI_SEGMENT_POWERS; power++)
                value += curve[power] * polynomials[power][i];
            samples[i] -= value;
        }
}
#endif

/* The mean square of a patch, and its largest square. */
static float mean_square(const float *samples, float *highest)
{
    float power = 0.0f;
    *highest = 0.0f;
    for (size_t i = 0; i < HAAQI_PATCH_LENGTH; i++) {
        float now = square(samples[i]);
        *highest = now > *highest ? now : *highest;
    }
    for (size_t start = 0; start < HAAQI_PATCH_LENGTH; start += HAAQI_PATCH_LENGTH / 16)
        power += sum_of_squares(samples + start, HAAQI_PATCH_LENGTH / 16);
    return power / (float)HAAQI_PATCH_LENGTH;
}

/* Loudness, crest and kurtosis of the whole patch, the same in all bands, of its mean square and largest square. */
static void whole(const float *samples, float mean_square, float highest, float (*told)[HAAQI_BANDS])
{
    float power = mean_square + HAAQI_FLOOR, fourth = 0.0f;
    for (size_t i = 0; i < HAAQI_PATCH_LENGTH; i++)
        fourth += square(square(samples[i]) / power);
    fourth /= (float)HAAQI_PATCH_LENGTH;
    float loudness = 0.5f * logf(power), crest = 0.5f * logf((highest + HAAQI_FLOOR) / power);
    float kurtosis = logf(fourth + HAAQI_MODULATION_FLOOR);
    for (size_t band = 0; band < HAAQI_BANDS; band++) {
        told[LOUDNESS][band] = loudness;
        told[CREST][band] = crest;
        told[KURTOSIS][band] = kurtosis;
    }
}

/* ---- encoder: a patch to a token ---- */

static void encode(haaqi_nano *ear, float power, float highest, float *token)
{
    float *texture = ear->work.encoder.texture, *levels = token + HAAQI_VECTOR;
    float (*told)[HAAQI_BANDS] = (float (*)[HAAQI_BANDS])texture;
    fine(ear->samples, ear->work.encoder.at.spectrum, told);
    envelopes(ear->samples, ear->work.encoder.at.frames.frame, ear->work.encoder.at.frames.envelope, told);
    whole(ear->samples, power, highest, told);

    for (size_t band = 0; band < HAAQI_BANDS; band++) /* dB SPL, in units */
        levels[band] = HAAQI_LEVEL_FACTOR * told[LEVEL][band] + level_offset[band];
    for (size_t i = 0; i < HAAQI_PLANES * HAAQI_BANDS; i++)
        texture[i] = (texture[i] - texture_mean[i]) * texture_scale[i];

    const float *x = texture;
    for (size_t i = 0; i < HAAQI_LAYERS; i++) {
        const layer *one = &encoder_layers[i];
        float *y = i + 1 == HAAQI_LAYERS ? token : ear->work.encoder.at.units[i % 2];
        apply(ear, &one->product, x, y);
        normalise(y, one->product.outputs, one->gain, one->shift);
        if (i + 1 < HAAQI_LAYERS)
            relu(y, one->product.outputs);
        x = y;
    }
}

/* ---- head: a window of tokens and an audiogram to scores ---- */

/* What the listener makes of one token, into work.head.vector. */
static void hear(haaqi_nano *ear, const float *token)
{
    const float *levels = token + HAAQI_VECTOR, *film = ear->work.head.film;
    float *audible = ear->work.head.audible, *vector = ear->work.head.vector;
    for (size_t band = 0; band < HAAQI_BANDS; band++) {
        float above = levels[band] - ear->work.head.threshold[band];
        audible[band] = tanhf(above);
        audible[HAAQI_BANDS + band] = above > 0.0f ? above : 0.0f;
    }
    apply(ear, &audibility, audible, vector);
    for (size_t i = 0; i < HAAQI_VECTOR; i++)
        vector[i] += token[i] * (1.0f + film[i]) + film[HAAQI_VECTOR + i];
    relu(vector, HAAQI_VECTOR);
}

/* One step of a gated recurrent unit (Cho et al. 2014, as PyTorch and cuDNN have it) from `vector` and `state`. */
static void step(haaqi_nano *ear, const gru *unit)
{
    const float *input = ear->work.head.gates[0], *recurrent = ear->work.head.gates[1];
    float *state = ear->work.head.state;
    apply(ear, &unit->input, ear->work.head.vector, ear->work.head.gates[0]);
    apply(ear, &unit->state, state, ear->work.head.gates[1]);
    for (size_t i = 0; i < HAAQI_HIDDEN; i++) {
        size_t update = HAAQI_HIDDEN + i, candidate = 2 * HAAQI_HIDDEN + i;
        float reset = sigmoid(input[i] + recurrent[i]);
        float kept = sigmoid(input[update] + recurrent[update]);
        float fresh = tanhf(input[candidate] + reset * recurrent[candidate]);
        state[i] = fresh + kept * (state[i] - fresh);
    }
}

/* Both directions of the GRU, one after the other; of its states only what they add to the two outputs is kept, and
 * what the listener makes of a token is computed for each direction rather than held for the whole window. */
static void read_window(haaqi_nano *ear)
{
    float *frame = ear->work.head.frame, *share = ear->work.head.share, *state = ear->work.head.state;
    size_t count = ear->count, first = (ear->next + HAAQI_WINDOW - count) % HAAQI_WINDOW;
    for (size_t i = 0; i < count; i++) {
        frame[i] = HAAQI_FRAME_BIAS;
        share[i] = 0.0f; /* its bias is the same for all */
    }
    for (size_t direction = 0; direction < 2; direction++) {
        memset(state, 0, sizeof ear->work.head.state);
        for (size_t done = 0; done < count; done++) {
            size_t i = direction == 0 ? done : count - 1 - done;
            hear(ear, ear->tokens[(first + i) % HAAQI_WINDOW]);
            step(ear, &directions[direction]);
            for (size_t k = 0; k < HAAQI_HIDDEN; k++) {
                frame[i] += frame_weights[direction][k] * state[k];
                share[i] += share_weights[direction][k] * state[k];
            }
        }
    }
}

/* The listener: scale and shift of the vectors, and the thresholds in the bands. */
static void listen(haaqi_nano *ear, const float *audiogram)
{
    float loss[HAAQI_HEARD], *threshold = ear->work.head.threshold;
    memset(threshold, 0, sizeof ear->work.head.threshold);
    for (size_t i = 0; i < HAAQI_HEARD; i++) {
        for (size_t band = 0; band < HAAQI_BANDS; band++)
            threshold[band] += threshold_weights[i][band] * audiogram[heard[i]];
        loss[i] = audiogram[heard[i]] / HAAQI_LOSS_UNIT;
    }
    for (size_t band = 0; band < HAAQI_BANDS; band++)
        threshold[band] = threshold[band] > 0.0f ? threshold[band] / HAAQI_LEVEL_UNIT : 0.0f;
    apply(ear, &conditioning[0], loss, ear->work.head.condition);
    relu(ear->work.head.condition, HAAQI_CONDITION);
    apply(ear, &conditioning[1], ear->work.head.condition, ear->work.head.film);
}

/* ---- what is called from outside ---- */

/* The memory is what was printed when this file was made. */
typedef char ram_is_as_said[sizeof(haaqi_nano) == HAAQI_RAM ? 1 : -1];

haaqi_status haaqi_init(haaqi_nano *ear, float level1)
{
    int good = level1 >= 0.0f && level1 <= 140.0f; /* not for NaN */
    memset(ear, 0, sizeof *ear);
    ear->gain = good ? expf((level1 - HAAQI_LEVEL1) * 0.11512925f) : 1.0f; /* ln(10) / 20 */
    ear->silence = HAAQI_SILENCE * ear->gain;
    return good ? HAAQI_OK : HAAQI_BAD_LEVEL;
}

static void take_patch(haaqi_nano *ear)
{
    float highest, power = mean_square(ear->samples, &highest);
    ear->power = power; /* level and silence are those of the samples as they came */
    ear->quiet = sqrtf(highest) > ear->silence ? 0 : ear->quiet + (ear->quiet < HAAQI_WINDOW);
#if HAAQI_TEXTURE == 2
    memcpy(ear->tail, ear->samples + HAAQI_PATCH_SHIFT, sizeof ear->tail);
    detrend(ear->samples, ear->work.encoder.at.curve);
    power = mean_square(ear->samples, &highest);
#endif
    encode(ear, power, highest, ear->tokens[ear->next]);
#if HAAQI_TEXTURE == 2
    memcpy(ear->samples + HAAQI_PATCH_SHIFT, ear->tail, sizeof ear->tail);
#endif
    ear->next = (ear->next + 1) % HAAQI_WINDOW;
    ear->count += ear->count < HAAQI_WINDOW;
}

int haaqi_push(haaqi_nano *ear, const float *samples, size_t count)
{
    int patches = 0;
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(samples[i]) <= HAAQI_LOUDEST)) /* NaN too */
            return HAAQI_BAD_SAMPLE;
    for (size_t i = 0; i < count; i++) {
        ear->samples[ear->held++] = ear->gain * samples[i];
        if (ear->held == HAAQI_PATCH_LENGTH) {
            take_patch(ear);
            patches++;
            ear->held = HAAQI_PATCH_LENGTH - HAAQI_PATCH_SHIFT;
            memmove(ear->samples, ear->samples + HAAQI_PATCH_SHIFT, ear->held * sizeof ear->samples[0]);
        }
    }
    return patches;
}

haaqi_status haaqi_score(haaqi_nano *ear, const float audiogram[HAAQI_LEVELS], float *score, float *frame_scores)
{
    float *frame = ear->work.head.frame, *share = ear->work.head.share;
    for (size_t i = 0; i < HAAQI_LEVELS; i++)
        if (!(audiogram[i] >= -10.0f && audiogram[i] <= 120.0f))
            return HAAQI_BAD_AUDIOGRAM;
    if (ear->count == 0)
        return HAAQI_TOO_SHORT;
    if (ear->quiet >= ear->count)
        return HAAQI_SILENT;
    listen(ear, audiogram);
    read_window(ear);

    /* The frames' scores, weighed by the softmax of their shares. */
    float most = share[0], total = 0.0f, weighed = 0.0f;
    for (size_t i = 1; i < ear->count; i++)
        most = share[i] > most ? share[i] : most;
    for (size_t i = 0; i < ear->count; i++) {
        float part = expf(share[i] - most);
        frame[i] = sigmoid(frame[i]);
        total += part;
        weighed += part * frame[i];
    }
    *score = weighed / total;
    if (frame_scores != NULL)
        memcpy(frame_scores, frame, ear->count * sizeof frame[0]);
    return HAAQI_OK;
}

unsigned haaqi_patches(const haaqi_nano *ear)
{
    return (unsigned)ear->count;
}

haaqi_status haaqi_level(const haaqi_nano *ear, float *level)
{
    if (ear->count == 0)
        return HAAQI_TOO_SHORT;
    if (ear->quiet > 0)
        return HAAQI_SILENT;
    *level = HAAQI_LEVEL1 + 4.3429448f * logf(ear->power); /* 10 / ln(10) */
    return HAAQI_OK;
}

/* ---- tables and trained weights ---- */

/* @numbers@ */
