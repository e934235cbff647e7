/* haaqi_nano.h: how good music sounds to a hearing-aid user (HAAQI, 0 to 1), in plain C99.
 *
 * @about@
 *
 *     static haaqi_nano ear;                        // all the memory there is: HAAQI_RAM bytes
 *     haaqi_init(&ear, 85.0f);
 *     if (haaqi_push(&ear, samples, count) > 0)     // 16 kHz, mono, full scale 1.0; any number of samples
 *         haaqi_score(&ear, audiogram, &score, NULL);
 *
 * What is pushed is the presented signal: what reaches the ear, amplification included. Every 160 ms a patch of it is
 * complete and is encoded, within that call of haaqi_push; haaqi_score reads the last HAAQI_WINDOW patches. How the
 * samples are cut into calls changes nothing. No memory is allocated, nothing is global: one haaqi_nano is one stream.
 * Of the mathematical library it calls expf, fabsf, logf, sqrtf and tanhf.
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
    HAAQI_TOO_SHORT = -1,     /* no patch is complete yet: HAAQI_PATCH_LENGTH samples are the least */
    HAAQI_SILENT = -2,        /* nothing but silence: there is no quality to be told */
    HAAQI_BAD_SAMPLE = -3,    /* not a number, or louder than any music: nothing of the call was taken */
    HAAQI_BAD_AUDIOGRAM = -4, /* a level that is not from -10 to 120 dB HL */
    HAAQI_BAD_LEVEL = -5      /* level1 is not from 0 to 140 dB SPL; 85 is taken */
} haaqi_status;

/* A stream of audio. Its members are not for use from outside. */
typedef struct haaqi_nano {
    float gain;                                 /* from samples to where RMS 1.0 is HAAQI_LEVEL1 */
    float silence;                              /* peak up to which a patch is silent */
    float power;                                /* mean square of the last patch */
    uint32_t held;                              /* samples held */
    uint32_t next;                              /* place of the next token */
    uint32_t count;                             /* tokens held, at most HAAQI_WINDOW */
    uint32_t quiet;                             /* silent patches since the last one that sounded */
    float samples[HAAQI_PATCH_LENGTH];          /* of the patch that is being filled */
#if HAAQI_TEXTURE == 2
    float tail[HAAQI_PATCH_LENGTH - HAAQI_PATCH_SHIFT]; /* of a patch, which the next one reads too */
#endif
    float tokens[HAAQI_WINDOW][HAAQI_TOKEN];    /* a ring */
#if HAAQI_INT8
    int16_t rounded[HAAQI_INPUTS];              /* what a product reads */
#endif
    union {                                     /* what is at work: one at a time */
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
        } head;
    } work;
} haaqi_nano;

/* Begin a stream, or begin it anew. level1: dB SPL of a signal whose RMS is 1.0, 85 unless you know better; music at
 * -20 dBFS is then heard at 65 dB SPL. Gives HAAQI_OK or HAAQI_BAD_LEVEL. */
haaqi_status haaqi_init(haaqi_nano *ear, float level1);

/* Take samples, from one up. Gives the patches that they completed, or HAAQI_BAD_SAMPLE. */
int haaqi_push(haaqi_nano *ear, const float *samples, size_t count);

/* The score of the last patches, haaqi_patches() of them, for a listener.
 *
 * audiogram: HAAQI_LEVELS hearing levels, dB HL at 250, 500, 1000, 2000, 3000, 4000, 6000 and 8000 Hz; like HAAQI
 * itself, nano does not look at those at 3000 and 8000 Hz.
 * score: 0 to 1; left alone unless HAAQI_OK is given.
 * frame_scores: NULL, or room for HAAQI_WINDOW scores, one for each patch, the oldest first.
 *
 * Gives HAAQI_OK, HAAQI_TOO_SHORT, HAAQI_SILENT or HAAQI_BAD_AUDIOGRAM. Any number of listeners may be asked for. */
haaqi_status haaqi_score(haaqi_nano *ear, const float audiogram[HAAQI_LEVELS], float *score, float *frame_scores);

/* Patches that a score would read now, at most HAAQI_WINDOW. */
unsigned haaqi_patches(const haaqi_nano *ear);

/* The level of the last patch, dB SPL. Gives HAAQI_OK, HAAQI_TOO_SHORT or HAAQI_SILENT; level is left alone then. */
haaqi_status haaqi_level(const haaqi_nano *ear, float *level);

#ifdef __cplusplus
}
#endif

#endif
