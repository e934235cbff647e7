/* On the emulated board: run AUDIO LISTENERS. AUDIO holds samples, LISTENERS audiograms, both float32.
 *
 * Prints each listener's score of the last window, then what one patch and one score took: instructions (QEMU's clock
 * counts one a nanosecond with -icount shift=0, the board's timer runs at 25 MHz) and the deepest stack.
 */
#include "haaqi_nano.h"

#include <stdio.h>
#include <string.h>

#define TIMER ((volatile uint32_t *)0x40000000u) /* CMSDK timer 0: control, value, reload */

enum { STEP = 40, CHUNK = 997, STACK = 16384, PAINT = 0xA5 };

static haaqi_nano ear;

static uint32_t ticks(void)
{
    return 0xFFFFFFFFu - TIMER[1];
}

static volatile unsigned char *lowest;

/* Fill the stack below; nothing interrupts. */
__attribute__((noinline)) static void paint(void)
{
    lowest = (volatile unsigned char *)((uintptr_t)__builtin_frame_address(0) - STACK - 64);
    for (int i = 0; i < STACK; i++)
        lowest[i] = PAINT;
}

/* How much of it was written to since. */
static unsigned touched(void)
{
    unsigned i = 0;
    while (i < STACK && lowest[i] == PAINT)
        i++;
    return STACK - i;
}

int main(int argc, char **argv)
{
    static float samples[CHUNK];
    float audiogram[HAAQI_LEVELS], score;
    uint32_t patch = 0;
    unsigned stack = 0;
    size_t got;
    FILE *audio = argc == 3 ? fopen(argv[1], "rb") : NULL, *listeners = argc == 3 ? fopen(argv[2], "rb") : NULL;
    if (audio == NULL || listeners == NULL) {
        puts("error: give AUDIO and LISTENERS");
        return 2;
    }
    TIMER[2] = 0xFFFFFFFFu;
    TIMER[0] = 1;
    haaqi_init(&ear, HAAQI_LEVEL1);
    while ((got = fread(samples, sizeof samples[0], CHUNK, audio)) > 0) {
        paint();
        uint32_t start = ticks();
        int patches = haaqi_push(&ear, samples, got);
        if (patches == 1) {
            patch = ticks() - start;
            stack = touched();
        }
        if (patches < 0)
            return 1;
    }
    printf("patch %lu %u\n", (unsigned long)patch * STEP, stack);
    while (fread(audiogram, sizeof audiogram[0], HAAQI_LEVELS, listeners) == HAAQI_LEVELS) {
        paint();
        uint32_t start = ticks();
        haaqi_status status = haaqi_score(&ear, audiogram, &score, NULL);
        uint32_t taken = ticks() - start;
        stack = touched();
        printf("score %d %.8f %lu %u\n", status, (double)score, (unsigned long)taken * STEP, stack);
    }
    return 0;
}
