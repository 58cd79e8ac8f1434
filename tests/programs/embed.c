/* A program that is not Python and holds Python in a library: the main
   interpreter runs one function, a subinterpreter another one, and C code of
   ours is between them. The API is declared here, so that no headers are
   needed; it is the same from 3.8 to 3.14. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void *library;

static void *need(const char *name) {
    void *found = dlsym(library, name);
    if (!found) {
        fprintf(stderr, "no %s\n", name);
        exit(1);
    }
    return found;
}

__attribute__((noinline)) static void run(const char *code) {
    int (*run_string)(const char *, void *) = need("PyRun_SimpleStringFlags");
    if (run_string(code, NULL) != 0)
        exit(1);
    __asm__ volatile("");
}

static const char MAIN[] =
    "import time\n"
    "def in_main(end):\n"
    "    x = 0\n"
    "    while time.process_time() < end:\n"
    "        for i in range(100): x += i\n"
    "in_main(time.process_time() + 0.5)\n";

static const char SUB[] =
    "import time\n"
    "def in_subinterpreter(end):\n"
    "    x = 0\n"
    "    while time.process_time() < end:\n"
    "        for i in range(100): x += i\n"
    "in_subinterpreter(time.process_time() + 0.5)\n";

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    library = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    void (*initialize)(int) = need("Py_InitializeEx");
    void *(*new_interpreter)(void) = need("Py_NewInterpreter");
    void *(*swap)(void *) = need("PyThreadState_Swap");
    initialize(0);
    void *first = swap(NULL);
    swap(first);
    void *second = new_interpreter();
    for (long rounds = atol(argv[2]); rounds > 0; rounds--) {
        swap(first);
        run(MAIN);
        swap(second);
        run(SUB);
    }
    /* Without taking anything down: the end of the process does. */
    _exit(0);
}
