/* A shared library with its own unwind information. */
#include "shares.h"

static SEPARATE void library_inner(long long until) {
    burn(until);
}

SEPARATE void library_work(long long until) {
    library_inner(until);
    /* Something after the call, or it would be a tail call. */
    __asm__ volatile("" ::: "memory");
}
