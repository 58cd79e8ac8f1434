// What PostgreSQL's server does at its probes, so often and no more, when it is told
// to: where there is no server. postgres ROUNDS
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// As sys/sdt.h, version 3, writes it, for 64 bits and without semaphores.
#define PROBE(name, arguments, value)                                                      \
  __asm__ volatile("990: nop\n"                                                            \
                   ".pushsection .note.stapsdt,\"\",\"note\"\n"                            \
                   ".balign 4\n"                                                           \
                   ".4byte 992f-991f, 994f-993f, 3\n"                                      \
                   "991: .asciz \"stapsdt\"\n"                                             \
                   "992: .balign 4\n"                                                      \
                   "993: .8byte 990b, _.stapsdt.base, 0\n"                                 \
                   ".asciz \"postgresql\"\n.asciz \"" name "\"\n.asciz \"" arguments "\"\n" \
                   "994: .balign 4\n"                                                      \
                   ".popsection\n"                                                         \
                   ".ifndef _.stapsdt.base\n"                                              \
                   ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n" \
                   ".weak _.stapsdt.base\n.hidden _.stapsdt.base\n"                        \
                   "_.stapsdt.base: .space 1\n.size _.stapsdt.base, 1\n"                   \
                   ".popsection\n.endif\n" ::"S"(value)                                    \
                   : "memory")

__attribute__((noinline)) static void status(const char *text) {
  PROBE("statement__status", "8@%%rsi", text);
}

#define PHASE(phase)                                                                       \
  __attribute__((noinline)) static void phase(void (*within)(void)) {                      \
    PROBE("query__" #phase "__start", "", 0);                                              \
    if (within) within();                                                                  \
    PROBE("query__" #phase "__done", "", 0);                                               \
  }
PHASE(parse)
PHASE(rewrite)
PHASE(plan)
PHASE(execute)

__attribute__((noinline)) static void lock(void) {
  PROBE("lock__wait__start", "", 0);
  usleep(1000);
  PROBE("lock__wait__done", "", 0);
}

// A function's statement, and a portal within a portal.
static void function(void) {
  plan(NULL);
  execute(NULL);
  lock();
}

// Stays in the middle of it, as an error leaves it.
__attribute__((noinline)) static void fail(void) {
  PROBE("query__plan__start", "", 0);
}

int main(int count, char **arguments) {
  int rounds = count > 1 ? atoi(arguments[1]) : 1;
  puts("ready");
  fflush(stdout);
  getchar();
  char text[64];
  for (int round = 0; round < rounds; round++) {
    snprintf(text, sizeof text, "SELECT f(%d), 'a''b'", round);
    status(text);
    parse(NULL);
    rewrite(NULL);
    plan(NULL);
    execute(function);
    status(NULL);
    status("SELECT failing");
    fail();
    status(NULL);
  }
  puts("done");
  fflush(stdout);
  for (;;) pause();
}
