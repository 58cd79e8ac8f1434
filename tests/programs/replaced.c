// Uses one library and then another in its place, for half a second of CPU time
// each: replaced FIRST.so SECOND.so [fork]. With "fork", a child that is forked as
// soon as the library is there uses it. Says "ready" once both were at the same
// address, ends with 1 when they are not.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **arguments)
{
    // What lies above the frames of the libraries.
    volatile char zeros[1 << 14] = {0};
    void *base = NULL;
    for (int round = 0; count >= 3; round++) {
        void *library = dlopen(arguments[1 + round % 2], RTLD_NOW);
        if (!library) {
            fprintf(stderr, "%s\n", dlerror());
            return 1;
        }
        void (*work)(double) = (void (*)(double))dlsym(library, "work");
        Dl_info info;
        if (!work || !dladdr((void *)work, &info))
            return 1;
        if (round > 0 && info.dli_fbase != base) {
            fprintf(stderr, "at %p and %p\n", base, info.dli_fbase);
            return 1;
        }
        base = info.dli_fbase + zeros[round % sizeof zeros];
        if (count == 3) {
            work(0.5);
        } else {
            pid_t child = fork();
            if (child == 0) {
                work(0.5);
                _exit(0);
            }
            if (child < 0 || waitpid(child, NULL, 0) != child)
                return 1;
            // So that it is known to whoever samples.
            work(0.1);
        }
        dlclose(library);
        if (round == 1) {
            puts("ready");
            fflush(stdout);
        }
    }
    return 2;
}
