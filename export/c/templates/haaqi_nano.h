/* haaqi_nano.h: predict how good music sounds to a hearing-aid user (HAAQI, 0 to 1), in plain C99.
 *
 * @about@
 *
 *     static haaqi_nano stream;                        // the only memory, about HAAQI_RAM bytes; no heap, no globals
 *     const float audiogram[HAAQI_LEVELS] =            // dB HL at 250, 500, 1000, 2000, 3000, 4000, 6000 and 8000 Hz
 *         {35, 35, 40, 50, 55, 60, 65, 65};
 *     float score;
 *     haaqi_init(&stream, 85.0f);                      // once
 *     if (haaqi_process(&stream, samples, count) > 0 && // whenever audio arrives, any number of samples
 *         haaqi_score(&stream, audiogram, &score, NULL) == HAAQI_OK)
 *         printf("%.3f\n", score);                     // 0 (bad) to 1 (good)
 *
 * Samples are mono (the mean of the channels), with full scale 1.0 (divide 16-bit integers by 32768), at
 * HAAQI_INPUT_RATE: 16 kHz, or 48 kHz with -DHAAQI_DECIMATE=1. They are the signal at the ear, amplification included. If
 * yours is not amplified, let -DHAAQI_NALR=1 amplify it for the listener. Compile haaqi_nano.c and your program with the
 * same options, and link the mathematical library, for example:
 *
 *     cc -O3 -DHAAQI_NALR=1 -DHAAQI_DECIMATE=1 -o program program.c haaqi_nano.c -lm
 *
 * A patch of samples is complete every 160 ms. haaqi_process encodes it at once, which takes a while; so does
 * haaqi_score, which reads the last HAAQI_WINDOW patches. In an audio callback, use haaqi_push and haaqi_work instead:
 * see "use in an audio callback" below. Scores do not depend on the number of samples per call. One haaqi_nano is one
 * stream. Of the mathematical library, it uses expf, fabsf, logf, sqrtf and tanhf. The code is right at any level of
 * optimization, -ffast-math included, and compiles as C++ too.
 */
#ifndef HAAQI_NANO_H
#define HAAQI_NANO_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* @sizes@ */

typedef enum haaqi_status {
    HAAQI_OK = 0,
    HAAQI_TOO_SHORT = -1,     /* no patch is complete yet: push at least HAAQI_PATCH_LENGTH samples */
    HAAQI_SILENT = -2,        /* the window is silent and has no quality */
    HAAQI_BAD_SAMPLE = -3,    /* a sample is NaN, infinite or far too loud: the whole call was ignored */
    HAAQI_BAD_AUDIOGRAM = -4, /* a level is NaN or outside -10 to 120 dB HL */
    HAAQI_BAD_LEVEL = -5,     /* level1 is outside 0 to 140 dB SPL, or NaN: 85 is used */
    HAAQI_NO_SCORE = -6,      /* the result is not a number: the memory of the stream was overwritten */
    HAAQI_FULL = -7,          /* the queue has no room for the samples: call haaqi_work more often, or with more */
    HAAQI_BUSY = -8,          /* a score is in progress: call haaqi_work */
    HAAQI_NOT_REQUESTED = -9  /* no score was requested */
} haaqi_status;

/* ---- options: define them when you compile, with the same values for all files of a program ---- */

/* 1: amplify for the listener with NAL-R, as `haaqi-edge score --nal-r` does. The input is then the signal before the
 * hearing aid. Call haaqi_amplify after haaqi_init. */
#ifndef HAAQI_NALR
#define HAAQI_NALR 0
#endif

/* 1: the input is at 48 kHz. It is filtered and converted to 16 kHz. The default queue is three times as long. */
#ifndef HAAQI_DECIMATE
#define HAAQI_DECIMATE 0
#endif

#define HAAQI_DECIMATION (HAAQI_DECIMATE ? 3 : 1)
#define HAAQI_INPUT_RATE (HAAQI_DECIMATION * HAAQI_SAMPLE_RATE) /* Hz of all samples that you pass */

/* Samples by which the filters of the options delay the input. To score the end of a recording, pass as many zeros
 * after it. */
#define HAAQI_DELAY ((HAAQI_DECIMATE ? HAAQI_DECIMATOR_REACH : 0) + (HAAQI_NALR ? HAAQI_DECIMATION * HAAQI_NALR_REACH : 0))

/* Samples that haaqi_push can store, by default those of a patch. 0 leaves the functions for audio callbacks out, which
 * saves RAM. */
#ifndef HAAQI_QUEUE
#define HAAQI_QUEUE (HAAQI_DECIMATION * HAAQI_QUEUE_DEFAULT)
#elif HAAQI_QUEUE < 0
#error "HAAQI_QUEUE is negative: give a number of samples, or 0"
#endif

/* Operations of haaqi_work: those of a patch with its filters, and of a score of a complete window. */
#define HAAQI_FILTER_OPERATIONS                                                                                        \
    ((HAAQI_DECIMATE ? 2 * HAAQI_DECIMATOR_REACH + 3 : 0) + (HAAQI_NALR ? 2 * HAAQI_NALR_REACH + 1 : 0))
#define HAAQI_PATCH_OPERATIONS (HAAQI_ENCODER_OPERATIONS + HAAQI_PATCH_SHIFT * HAAQI_FILTER_OPERATIONS)

#if HAAQI_QUEUE
#define HAAQI_SLOTS (HAAQI_WINDOW + HAAQI_SPARE)
#else
#define HAAQI_SLOTS HAAQI_WINDOW
#endif

/* Work in progress. */
typedef struct haaqi_task {
    uint32_t phase, index; /* next step */
    uint32_t row;          /* next row of a product */
    float step;            /* of its rounded inputs */
} haaqi_task;

/* A stream of audio. Its members are private. */
typedef struct haaqi_nano {
    float gain;                                 /* factor of samples, after which RMS 1.0 is HAAQI_LEVEL1 */
    float silence;                              /* peak up to which a patch is silent */
    float power;                                /* mean square of the last patch */
    uint32_t stored;                            /* number of samples of the incomplete patch */
    uint32_t arrived;                           /* the same of the input, with samples of the queue */
    uint32_t next;                              /* index of the next token */
    uint32_t count;                             /* tokens that a score reads, at most HAAQI_WINDOW */
    uint32_t quiet;                             /* silent patches since the last patch with sound */
    haaqi_task encoding;                        /* of a patch */
    float patch_power, patch_highest;           /* its mean square and largest square */
    float mean_square, highest, fourth, floor;  /* sums of its front end */
    haaqi_task scoring;                         /* of a window */
    uint32_t first, length;                     /* its tokens */
    uint32_t age;                               /* tokens that were added since its start */
    float max_share, total, weighed;            /* sums of its softmax */
#if HAAQI_INTERVAL
    float margin;                               /* what the listener's group adds to the interval */
    float ends[2];                              /* sums for its interval, then the interval */
#endif
    float tokens[HAAQI_SLOTS][HAAQI_TOKEN];     /* ring buffer */
    float samples[HAAQI_PATCH_LENGTH];          /* of the incomplete patch */
#if HAAQI_TEXTURE == 2
    float tail[HAAQI_PATCH_LENGTH - HAAQI_PATCH_SHIFT]; /* samples that the next patch reads too */
#endif
#if HAAQI_DECIMATE
    uint32_t input_place, input_wait;           /* samples until the next one at 16 kHz */
    float input[2 * (2 * HAAQI_DECIMATOR_REACH + 1)];
#endif
#if HAAQI_NALR
    uint32_t unamplified_place, unamplified_wait; /* samples until the first amplified one */
    float unamplified[2 * (2 * HAAQI_NALR_REACH + 1)];
    float nalr[HAAQI_NALR_REACH + 1];           /* first half of the filter, and the middle tap */
#endif
#if HAAQI_QUEUE
    volatile uint32_t written, taken;           /* positions in the queue */
    float queue[HAAQI_QUEUE + 1];               /* ring buffer; one place is always free */
    struct                                      /* temporary values; a patch and a score can be in progress together */
#else
    union                                       /* temporary values */
#endif
    {
        struct {
            float texture[HAAQI_PLANES * HAAQI_BANDS];
            union {
                float spectrum[HAAQI_SPECTRUM + 2];
                float curve[HAAQI_SEGMENTS * HAAQI_SEGMENT_POWERS];
                struct {
                    float frame[HAAQI_FRAME + 2];
                    float envelope[HAAQI_BANDS][HAAQI_FRAMES];
                } frames;
                float units[2][HAAQI_UNITS];
            } at;
#if HAAQI_INT8
            int16_t rounded[HAAQI_INPUTS]; /* inputs of a product */
#endif
        } encoder;
        struct {
            float condition[HAAQI_CONDITION];
            float film[2 * HAAQI_VECTOR];
            float threshold[HAAQI_BANDS];
            float audible[2 * HAAQI_BANDS];
            float vector[HAAQI_VECTOR];
            float state[HAAQI_HIDDEN];
            float gates[2][3 * HAAQI_HIDDEN];
            float frame[HAAQI_WINDOW];
            float share[HAAQI_WINDOW];
#if HAAQI_INTERVAL
            float ends[2][HAAQI_WINDOW];
#endif
#if HAAQI_INT8
            int16_t rounded[HAAQI_HEAD_INPUTS];
#endif
        } head;
    } work;
} haaqi_nano;

/* Start or restart a stream. level1: dB SPL of a signal whose RMS is 1.0. Use 85 if you do not know it: music at
 * -20 dBFS then has 65 dB SPL. Returns HAAQI_OK or HAAQI_BAD_LEVEL. */
haaqi_status haaqi_init(haaqi_nano *stream, float level1);

#if HAAQI_NALR
/* Amplify for a listener from now on, with the audiogram that haaqi_score has. Call it after haaqi_init. If you call it
 * later, the filter changes for samples that are not processed yet; call haaqi_init first if the window must not contain
 * both. Without a call there is no amplification. Designing the filter takes about 25,000 multiplications. Returns
 * HAAQI_OK or HAAQI_BAD_AUDIOGRAM. */
haaqi_status haaqi_amplify(haaqi_nano *stream, const float audiogram[HAAQI_LEVELS]);
#endif

/* ---- simple use: call haaqi_process, then haaqi_score ---- */

/* Process any number of samples: encode all patches that they complete. Returns the number of these patches, or
 * HAAQI_BAD_SAMPLE. */
int haaqi_process(haaqi_nano *stream, const float *samples, size_t count);

/* Score the last haaqi_patches() patches for a listener.
 *
 * audiogram: HAAQI_LEVELS hearing levels, dB HL at 250, 500, 1000, 2000, 3000, 4000, 6000 and 8000 Hz; like HAAQI
 * itself, nano ignores those at 3000 and 8000 Hz.
 * score: 0 to 1; it is set only if HAAQI_OK is returned.
 * frame_scores: NULL, or an array of HAAQI_WINDOW scores, one per patch, the oldest first.
 *
 * Returns HAAQI_OK, HAAQI_TOO_SHORT, HAAQI_SILENT, HAAQI_BAD_AUDIOGRAM or HAAQI_NO_SCORE. You can score any number of
 * listeners; with HAAQI_NALR, score the listener that haaqi_amplify was called for. */
haaqi_status haaqi_score(haaqi_nano *stream, const float audiogram[HAAQI_LEVELS], float *score, float *frame_scores);

#if HAAQI_INTERVAL
/* Get the prediction interval of the last score, from haaqi_score or haaqi_work: it contains the label of a clip such as
 * those that the network was tested on with a probability of HAAQI_INTERVAL percent. Returns HAAQI_OK, HAAQI_BUSY,
 * HAAQI_NOT_REQUESTED if there is no score yet, or HAAQI_NO_SCORE; low and high are set only if HAAQI_OK is returned. */
haaqi_status haaqi_interval(const haaqi_nano *stream, float *low, float *high);
#endif

/* Return the number of encoded patches that a score would read now, at most HAAQI_WINDOW. */
unsigned haaqi_patches(const haaqi_nano *stream);

/* Get the level of the last patch in dB SPL, amplification included. Returns HAAQI_OK, HAAQI_TOO_SHORT, HAAQI_SILENT or
 * HAAQI_NO_SCORE; level is set only if HAAQI_OK is returned. */
haaqi_status haaqi_level(const haaqi_nano *stream, float *level);

#if HAAQI_QUEUE
/* ---- use in an audio callback: every call is short ----
 *
 *     // operations per frame of 10 ms: a patch in 16 frames, a score in 100 frames, and a reserve of 25%
 *     #define BUDGET ((HAAQI_PATCH_OPERATIONS / 16 + HAAQI_SCORE_OPERATIONS / 100) * 5 / 4 + HAAQI_STEP)
 *
 *     void callback(const float *frame)                          // every 10 ms
 *     {
 *         haaqi_push(&stream, frame, HAAQI_INPUT_RATE / 100);    // stores the samples
 *         if (++frames % 100 == 0) {                             // once a second
 *             if (haaqi_result(&stream, &score, NULL) == HAAQI_OK)
 *                 ...                                            // the score that was requested a second ago
 *             haaqi_request(&stream, audiogram);                 // the next one
 *         }
 *         haaqi_work(&stream, BUDGET);                           // here, or in the main loop
 *     }
 *
 * A score is identical to what haaqi_process and haaqi_score would give for the patches encoded at the request.
 * haaqi_push may interrupt the other functions, which must not interrupt each other. haaqi_init, haaqi_process and
 * haaqi_score must not be interrupted by haaqi_push. */

/* Store up to HAAQI_QUEUE samples. The time is proportional to their number; haaqi_work filters and encodes them. Returns
 * the number of patches that they complete, or HAAQI_FULL or HAAQI_BAD_SAMPLE: the whole call was ignored. */
int haaqi_push(haaqi_nano *stream, const float *samples, size_t count);

/* Do work that waits: filter samples, encode patches, and compute a requested score. budget: maximum number of
 * operations, that is of multiplications; a function of the mathematical library counts as 16. At least one step is
 * done, which has at most HAAQI_STEP operations. Patches come first. A score must be complete before HAAQI_SPARE more
 * patches are; if it is not, patches wait for it. Returns 1, or 0 if no work is left.
 *
 * A patch needs HAAQI_PATCH_OPERATIONS, a score of a complete window HAAQI_SCORE_OPERATIONS. */
int haaqi_work(haaqi_nano *stream, uint32_t budget);

/* Request a score of the encoded patches. Returns HAAQI_OK, HAAQI_BUSY, HAAQI_TOO_SHORT, HAAQI_SILENT or
 * HAAQI_BAD_AUDIOGRAM. */
haaqi_status haaqi_request(haaqi_nano *stream, const float audiogram[HAAQI_LEVELS]);

/* Get the requested score. frame_scores: NULL, or an array of HAAQI_WINDOW scores, of which as many are set as there
 * were patches at the request. The result remains available until the next request or haaqi_score. Returns HAAQI_OK,
 * HAAQI_BUSY, HAAQI_NOT_REQUESTED or HAAQI_NO_SCORE. */
haaqi_status haaqi_result(const haaqi_nano *stream, float *score, float *frame_scores);
#endif

#ifdef __cplusplus
}
#endif

#endif
