/* On the emulated board: run AUDIO LISTENERS. AUDIO holds samples, LISTENERS audiograms, both float32.
 *
 * Prints the score of the last window for each listener, and the cost of calls: instructions and stack. With -icount
 * shift=0, QEMU's clock counts one instruction per nanosecond; the board's timer runs at 25 MHz. First come the most
 * expensive calls of the simple use (a frame of 10 ms that completes no patch, one that does, a score), then those of the
 * use in a callback.
 */
#include "haaqi_nano.h"

#include <stdio.h>
#include <string.h>

#define TIMER ((volatile uint32_t *)0x40000000u) /* CMSDK timer 0: control, value, reload */

enum { INSTRUCTIONS = 40, FRAME = HAAQI_INPUT_RATE / 100, STACK = 16384, PAINT = 0xA5 };

typedef struct cost {
    uint32_t instructions;
    unsigned stack;
} cost;

static haaqi_nano ear;
static float samples[FRAME];
static volatile unsigned char *lowest;
static uint32_t start;

/* Fill the stack below, and start counting. There are no interrupts. */
__attribute__((noinline)) static void start_cost(void)
{
    lowest = (volatile unsigned char *)((uintptr_t)__builtin_frame_address(0) - STACK - 64);
    for (int i = 0; i < STACK; i++)
        lowest[i] = PAINT;
    start = TIMER[1];
}

/* Get the cost since start_cost, if it is larger. */
__attribute__((noinline)) static void stop_cost(cost *largest)
{
    uint32_t instructions = (start - TIMER[1]) * INSTRUCTIONS;
    unsigned i = 0;
    while (i < STACK && lowest[i] == PAINT)
        i++;
    if (instructions > largest->instructions)
        largest->instructions = instructions;
    if (STACK - i > largest->stack)
        largest->stack = STACK - i;
}

static void print_cost(const char *name, cost one)
{
    printf("%s %lu %u\n", name, (unsigned long)one.instructions, one.stack);
}

/* Process in frames of 10 ms with a request per second. budget: of a call of haaqi_work; calls are repeated. */
static int run_callbacks(FILE *audio, const float *audiogram, uint32_t budget, cost *push, cost *work, cost *request)
{
    unsigned frames = 0;
    int more;
    rewind(audio);
    haaqi_init(&ear, HAAQI_LEVEL1);
    while (fread(samples, sizeof samples[0], FRAME, audio) == FRAME) {
        start_cost();
        int status = haaqi_push(&ear, samples, FRAME);
        stop_cost(push);
        if (status < 0)
            return status;
        if (++frames % 100 == 99) {
            start_cost();
            haaqi_request(&ear, audiogram);
            stop_cost(request);
        }
        do {
            start_cost();
            more = haaqi_work(&ear, budget);
            stop_cost(work);
        } while (more);
    }
    return 0;
}

int main(int argc, char **argv)
{
    float audiogram[HAAQI_LEVELS] = {0}, score = 0.0f;
    cost frame = {0, 0}, patch = {0, 0}, amplify = {0, 0}, step = {0, 0}, work = {0, 0}, push = {0, 0}, request = {0, 0};
    size_t got;
    FILE *audio = argc == 3 ? fopen(argv[1], "rb") : NULL, *listeners = argc == 3 ? fopen(argv[2], "rb") : NULL;
    if (audio == NULL || listeners == NULL) {
        puts("error: give AUDIO and LISTENERS");
        return 2;
    }
    TIMER[2] = 0xFFFFFFFFu;
    TIMER[0] = 1;
    haaqi_init(&ear, HAAQI_LEVEL1);
#if HAAQI_NALR
    if (fread(audiogram, sizeof audiogram[0], HAAQI_LEVELS, listeners) != HAAQI_LEVELS)
        return 1;
    start_cost();
    haaqi_amplify(&ear, audiogram);
    stop_cost(&amplify);
    rewind(listeners);
#endif
    while ((got = fread(samples, sizeof samples[0], FRAME, audio)) > 0) {
        start_cost();
        int patches = haaqi_process(&ear, samples, got);
        if (patches < 0)
            return 1;
        stop_cost(patches == 0 ? &frame : &patch);
    }
    print_cost("frame", frame);
    print_cost("patch", patch);
    print_cost("amplify", amplify);
    while (fread(audiogram, sizeof audiogram[0], HAAQI_LEVELS, listeners) == HAAQI_LEVELS) {
        cost one = {0, 0};
        start_cost();
        haaqi_status status = haaqi_score(&ear, audiogram, &score, NULL);
        stop_cost(&one);
        printf("score %d %.8f %lu %u\n", status, (double)score, (unsigned long)one.instructions, one.stack);
    }
    memset(audiogram, 0, sizeof audiogram);
    if (run_callbacks(audio, audiogram, 0, &push, &step, &request) < 0 ||
        run_callbacks(audio, audiogram, 100000, &push, &work, &request) < 0)
        return 1;
    print_cost("push", push);
    print_cost("request", request);
    print_cost("step", step);
    print_cost("work", work);
    return 0;
}
