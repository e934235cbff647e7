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

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    &__stack, (const void *)start, (const void *)stop, (const void *)stop,
};
