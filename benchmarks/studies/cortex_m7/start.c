/* What a Cortex-M7 does first: its vectors, the floating-point unit switched on, then newlib's own start. */
#include <stdint.h>

extern char __stack;
void _start(void); /* of newlib's rdimon: arguments, files and the exit go to the emulator */

__attribute__((noreturn)) void start(void)
{
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: full access to the FPU */
    __asm volatile("dsb\n isb");
    _start();
    for (;;)
        ;
}

static void stop(void)
{
    for (;;)
        ;
}

typedef union vector {
    const void *stack;
    void (*handler)(void);
} vector;

__attribute__((section(".vectors"), used)) static const vector vectors[16] = {
    {.stack = &__stack}, {.handler = start}, {.handler = stop}, {.handler = stop},
};
