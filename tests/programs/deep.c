/* Thirty calls deep, then arithmetic for ever: a native stack of known depth. */
#include <stdlib.h>

static volatile unsigned long sink;

__attribute__((noinline)) static unsigned long descend(int depth) {
    if (depth == 0)
        for (unsigned long x = 1; x != 0; x = x * 6364136223846793005UL + 1)
            sink = x;
    unsigned long deeper = depth == 0 ? 0 : descend(depth - 1);
    /* Else it would become a loop. */
    __asm__ volatile("" : "+r"(deeper));
    return deeper + 1;
}

int main(void) {
    return (int)descend(28);
}
