/* A program that knows nothing of Python until it is told to: each argument is a step. It loads CPythons by their names,
 * so one source does for every version, and is linked to none of them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *handles[8];
static void *saved[8];
static int loaded;

static void *named(int k, const char *name) {
    void *address = dlsym(handles[k], name);
    if (!address) {
        fprintf(stderr, "%s\n", dlerror());
        exit(2);
    }
    return address;
}

#define CALL(k, result, name, parameters) ((result(*) parameters)named(k, name))

static double cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

int main(int count, char **steps) {
    char line[64];
    for (int at = 1; at < count; at++) {
        const char *step = steps[at];
        int k = step[0] && step[1] ? step[1] - '0' : 0;
        const char *rest = step[0] && step[1] ? step + 2 : "";
        switch (step[0]) {
        case 'l': /* l_PATH: load */
            handles[loaded] = dlopen(rest, RTLD_NOW | RTLD_LOCAL);
            if (!handles[loaded++]) {
                fprintf(stderr, "%s\n", dlerror());
                return 2;
            }
            break;
        case 'i': /* initialize */
            CALL(k, void, "Py_InitializeEx", (int))(0);
            break;
        case 'r': /* r0CODE: run */
            if (CALL(k, int, "PyRun_SimpleStringFlags", (const char *, void *))(rest, NULL)) return 3;
            break;
        case 's': /* release the GIL and the thread state */
            saved[k] = CALL(k, void *, "PyEval_SaveThread", (void))();
            break;
        case 't': /* take it back */
            CALL(k, void, "PyEval_RestoreThread", (void *))(saved[k]);
            break;
        case 'f': /* finalize */
            if (CALL(k, int, "Py_FinalizeEx", (void))()) return 4;
            break;
        case 'c': /* unload */
            dlclose(handles[k]);
            break;
        case 'm': /* fill the holes of the address space */
            for (int hole = 0; hole < 200; hole++) mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            break;
        case 'p': /* say what it is and where its state is */
            printf("%.*s %lu\n", (int)strcspn(CALL(k, const char *, "Py_GetVersion", (void))(), " +"),
                   CALL(k, const char *, "Py_GetVersion", (void))(), (unsigned long)named(k, "_PyRuntime"));
            fflush(stdout);
            break;
        case 'e': /* e_TEXT: say something */
            puts(rest);
            fflush(stdout);
            break;
        case 'h': /* h_PATH: where the library of the next one is */
            setenv("PYTHONHOME", rest, 1);
            break;
        case 'w': /* wait for a line */
            if (!fgets(line, sizeof line, stdin)) return 0;
            break;
        case 'b': /* b_SECONDS: use the CPU */
            for (double end = cpu_seconds() + atof(rest); cpu_seconds() < end;) {
            }
            break;
        case 'F': /* go on in a child, and wait for it to end */
            if (fork() != 0) {
                wait(NULL);
                return 0;
            }
            break;
        }
    }
    return 0;
}
