/* A library that the program opens while it runs. */
#include "shares.h"

SEPARATE void plugin_inner(long long until) {
    burn(until);
}

void plugin_work(long long until) {
    plugin_inner(until);
    __asm__ volatile("" ::: "memory");
}
