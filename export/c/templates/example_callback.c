/* Score audio as a device does, in a callback every 10 ms: example_callback LEVEL,LEVEL,... < PCM
 *
 *     sox song.wav -t raw -r 16000 -c 1 -b 16 -e signed - | ./example_callback 35,35,40,50,55,60,65,65
 *
 * The input is the signal at the ear, amplification included: 16-bit integers, least significant byte first, mono, at
 * 16 kHz. Compiled with -DHAAQI_NALR=1, the program amplifies for the listener; with -DHAAQI_DECIMATE=1, the input is at
 * 48 kHz. The program prints a score a second. No call takes longer than BUDGET operations and a copy of a frame. On a
 * device, audio_callback is what the audio driver calls, and the main loop waits for `ready`.
 */
#include "haaqi_nano.h"

#include <stdio.h>
#include <stdlib.h>

enum { FRAME = HAAQI_INPUT_RATE / 100, FRAMES_PER_SCORE = 100 };

/* Operations per callback: those of a patch every 160 ms and of a score a second, and 25% more. */
#define BUDGET ((HAAQI_PATCH_OPERATIONS / 16 + HAAQI_SCORE_OPERATIONS / FRAMES_PER_SCORE) * 5 / 4 + HAAQI_STEP)

static haaqi_nano stream;
static float audiogram[HAAQI_LEVELS];
static unsigned long frames;
static float score;
static haaqi_status ready = HAAQI_BUSY; /* HAAQI_BUSY, or the status of a new score */

/* Take 10 ms of audio. Returns 0, or the error of haaqi_push. */
static int audio_callback(const float *samples)
{
    int pushed = haaqi_push(&stream, samples, FRAME);
    if (pushed < 0)
        return pushed;
    if (++frames % FRAMES_PER_SCORE == 0) {
        haaqi_status status = haaqi_request(&stream, audiogram);
        if (status != HAAQI_OK)
            ready = status; /* there is no score now */
    }
    haaqi_work(&stream, BUDGET);
    if (frames % FRAMES_PER_SCORE == FRAMES_PER_SCORE - 1) { /* just before the next request */
        haaqi_status status = haaqi_result(&stream, &score, NULL);
        if (status != HAAQI_NOT_REQUESTED)
            ready = status;
    }
    return 0;
}

static int read_frame(float *samples)
{
    unsigned char raw[2 * FRAME];
    if (fread(raw, 1, sizeof raw, stdin) != sizeof raw)
        return 0;
    for (int i = 0; i < FRAME; i++) {
        int value = raw[2 * i] | raw[2 * i + 1] << 8;
        samples[i] = (float)(value < 32768 ? value : value - 65536) / 32768.0f;
    }
    return 1;
}

int main(int argc, char **argv)
{
    float samples[FRAME];
    char *text = argc == 2 ? argv[1] : NULL;
    for (int i = 0; text != NULL && i < HAAQI_LEVELS; i++) {
        char *end;
        audiogram[i] = strtof(text, &end);
        text = end != text && *end == (i + 1 < HAAQI_LEVELS ? ',' : '\0') ? end + 1 : NULL;
    }
    if (text == NULL) {
        fputs("error: usage: example_callback LEVEL,LEVEL,LEVEL,LEVEL,LEVEL,LEVEL,LEVEL,LEVEL < PCM\n", stderr);
        return 2;
    }
    haaqi_init(&stream, HAAQI_LEVEL1);
#if HAAQI_NALR
    haaqi_amplify(&stream, audiogram); /* haaqi_request reports an invalid audiogram */
#endif
    while (read_frame(samples)) {
        int status = audio_callback(samples);
        if (status < 0) {
            fprintf(stderr, "error: haaqi_push returned %d at %.2f s\n", status, (double)frames / 100.0);
            return 1;
        }
        if (ready == HAAQI_BUSY)
            continue;
        if (ready == HAAQI_OK)
            printf("%8.2f s  %.6f\n", (double)frames / 100.0, (double)score);
        else
            printf("%8.2f s  no score: %d\n", (double)frames / 100.0, (int)ready);
        if (ready == HAAQI_BAD_AUDIOGRAM)
            return 2;
        ready = HAAQI_BUSY;
    }
    return 0;
}
