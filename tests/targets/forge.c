// A program that says it is a CPython 3.13 and whose interpreter structures are what a hostile process may make of them.
//
// TABLE (from table.h) is the start of a real interpreter's _PyRuntime: where fields are is read from there. Usage:
// forge MODE. Prints a line when the structures stand, and then spins until standard input ends.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "table.h"

typedef uint8_t u8;
typedef uint64_t u64;

__attribute__((section(".PyRuntime"), aligned(64), used)) u8 _PyRuntime[1 << 16] = {TABLE};

// Positions in _Py_DebugOffsets of 3.13 (Include/internal/pycore_runtime.h).
enum {
    RUNTIME_HEAD = 40, INTERPRETER_NEXT = 64, INTERPRETER_THREADS = 72,
    THREAD_NEXT = 168, THREAD_INTERPRETER = 176, THREAD_FRAME = 184, THREAD_ID = 192, THREAD_STATUS = 216,
    FRAME_PREVIOUS = 232, FRAME_CODE = 240, FRAME_INSTR = 248, FRAME_OWNER = 264,
    CODE_FILE = 280, CODE_NAME = 288, CODE_QUALNAME = 296, CODE_LINES = 304, CODE_LINE = 312, CODE_BYTECODE = 344,
    BYTES_SIZE = 520, BYTES_DATA = 528, STR_STATE = 544, STR_LENGTH = 552, STR_ASCII = 560,
};
enum { OWNED_BY_THREAD = 0, OWNED_BY_CSTACK = 3, COMPACT_ASCII = 1 << 2 | 1 << 5 | 1 << 6, BOUND = 1 << 3 };

static u64 offset(int position) {
    u64 value;
    memcpy(&value, _PyRuntime + position, 8);
    return value;
}

static void *zeroed(u64 bytes) {
    void *memory = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) abort();
    return memory;
}

// Other threads of this process write and the profiler reads at any time: no tearing of a word, no reordering by us.
static void set(void *base, int position, const void *value) {
    __atomic_store_n((u64 *)((u8 *)base + offset(position)), (u64)value, __ATOMIC_RELEASE);
}

static void set_number(void *base, int position, u64 value) { set(base, position, (void *)value); }

static u8 *text(const char *characters, u64 length) {
    u8 *object = zeroed(offset(STR_ASCII) + strlen(characters) + 8);
    *(uint32_t *)(object + offset(STR_STATE)) = COMPACT_ASCII;
    set_number(object, STR_LENGTH, length);
    strcpy((char *)object + offset(STR_ASCII), characters);
    return object;
}

static u8 *str(const char *characters) { return text(characters, strlen(characters)); }

static u8 *bytes(const u8 *data, u64 stored, u64 size) {
    u8 *object = zeroed(offset(BYTES_DATA) + stored + 8);
    set_number(object, BYTES_SIZE, size);
    memcpy(object + offset(BYTES_DATA), data, stored);
    return object;
}

// One location entry: the long form (14) without columns would do; 15 is NONE, 13 has a line only (Objects/locations.md).
static const u8 ONE_LINE[] = {0x80 | 13 << 3 | 7, 1};

static u8 *code(const char *name, const char *file, int line) {
    u8 *object = zeroed(4096);
    set(object, CODE_NAME, str(name));
    set(object, CODE_QUALNAME, str(name));
    set(object, CODE_FILE, str(file));
    set(object, CODE_LINES, bytes(ONE_LINE, sizeof ONE_LINE, sizeof ONE_LINE));
    *(int32_t *)(object + offset(CODE_LINE)) = line;
    return object;
}

static u8 *frame_at(u8 *frame, u8 *code, const void *previous, u8 owner) {
    set(frame, FRAME_CODE, code);
    set(frame, FRAME_PREVIOUS, previous);
    set(frame, FRAME_INSTR, code + offset(CODE_BYTECODE) + 2);
    frame[offset(FRAME_OWNER)] = owner;
    return frame;
}

static u8 *frame(u8 *code, const void *previous, u8 owner) { return frame_at(zeroed(4096), code, previous, owner); }

static u8 *thread_at(u8 *state, u8 *interpreter, const void *next, u64 id, const void *leaf) {
    set(state, THREAD_NEXT, next);
    set(state, THREAD_INTERPRETER, interpreter);
    set(state, THREAD_FRAME, leaf);
    set_number(state, THREAD_ID, id);
    set_number(state, THREAD_STATUS, BOUND);
    return state;
}

static u8 *thread(u8 *interpreter, const void *next, u64 id, const void *leaf) {
    return thread_at(zeroed(4096), interpreter, next, id, leaf);
}

static u8 *interpreter, *state, *root, *outer, *middle, *leaf, *leaf_code;

static void honest(void) {
    u8 *shim = frame(code("<shim>", "<shim>", 0), 0, OWNED_BY_CSTACK);
    root = frame(code("forged_root", "/forged/root.py", 10), shim, OWNED_BY_THREAD);
    outer = frame(code("forged_outer", "/forged/outer.py", 20), root, OWNED_BY_THREAD);
    middle = frame(code("forged_middle", "/forged/middle.py", 30), outer, OWNED_BY_THREAD);
    leaf_code = code("forged_leaf", "/forged/leaf.py", 40);
    leaf = frame(leaf_code, middle, OWNED_BY_THREAD);
    interpreter = zeroed(1 << 20);
    state = thread(interpreter, 0, (u64)pthread_self(), leaf);
    set(interpreter, INTERPRETER_THREADS, state);
    set(_PyRuntime, RUNTIME_HEAD, interpreter);
}

// What the second thread does, as fast as it can, or the spinning thread between two rounds.
static void (*meddle)(u64 round), (*between)(u64 round);

static void flip_links(u64 round) {
    const void *links[] = {outer, 0, leaf, (void *)0x10, (void *)0xffff888000000000, middle, (void *)7, root};
    set(middle, FRAME_PREVIOUS, links[round % 8]);
    set(leaf, FRAME_PREVIOUS, links[(round / 8) % 8]);
}

static void flip_threads(u64 round) {
    set(state, THREAD_FRAME, round & 1 ? leaf : (void *)0xdead000000000000);
    set(interpreter, INTERPRETER_THREADS, round & 2 ? state : interpreter);
    set(_PyRuntime, RUNTIME_HEAD, round & 4 ? interpreter : _PyRuntime);
}

static void flip_codes(u64 round) {
    const void *codes[] = {leaf_code, 0, (void *)8, interpreter, (void *)0xffffffff81000000, leaf, (void *)1, _PyRuntime};
    set(leaf, FRAME_CODE, codes[round % 8]);
    set(leaf_code, CODE_NAME, codes[(round / 8) % 8]);
    set(leaf_code, CODE_LINES, codes[(round / 64) % 8]);
}

// A code object that no sample has seen: another version, name and line each time.
static void new_code(u64 round) {
    char name[32];
    snprintf(name, sizeof name, "churned_%llu", (unsigned long long)round);
    u8 *object = *(u8 **)(leaf_code + offset(CODE_QUALNAME));
    set_number(object, STR_LENGTH, strlen(name));
    memcpy(object + offset(STR_ASCII), name, strlen(name));
    *(uint32_t *)(leaf_code + offset(CODE_LINE)) = (uint32_t)round;
    *(uint32_t *)(leaf_code + offset(CODE_LINE) + 24) = (uint32_t)round;
}

static void *meddler(void *unused) {
    for (u64 round = 0;; round++) meddle(round);
    return unused;
}

static void *ending(void *unused) {
    char byte;
    while (read(0, &byte, 1) > 0) {
    }
    _exit(0);
    return unused;
}

static void *resting(void *unused) {
    for (;;) pause();
    return unused;
}

// As many threads as the control group lets it have, all of which the interpreter knows nothing of.
static void many_tasks(void) {
    pthread_attr_t small;
    pthread_t other;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    // Without guards all stacks are one mapping: `vm.max_map_count` ends them no sooner.
    pthread_attr_setguardsize(&small, 0);
    while (pthread_create(&other, &small, resting, 0) == 0) {
    }
}

// Children that make children, each a few: as many as the control group has room for, and always new ones.
static void fork_for_ever(void) {
    for (int made = 0, first = 1;; made++) {
        pid_t child = fork();
        if (child == 0) made = first = 0;
        if (child < 0) usleep(1000);
        for (volatile int i = 0; i < 200000; i++) {
        }
        while (waitpid(-1, 0, WNOHANG) > 0) {
        }
        if (made >= 4 && !first) _exit(0);
    }
}

static int is(const char *mode, const char *name) { return strcmp(mode, name) == 0; }

static void forge(const char *mode) {
    const u64 endless = 1 << 20;
    const void *nowhere[] = {(void *)0xffff888000000000, (void *)0x7ffffffff000, (void *)~7ull, (void *)8, _PyRuntime};
    if (is(mode, "honest") || strstr(mode, "_for_ever") || is(mode, "tasks_without_end")) {
        // Not by what is in its memory.
    } else if (is(mode, "frames_in_a_ring")) {
        set(root, FRAME_PREVIOUS, leaf);
    } else if (is(mode, "frame_of_itself")) {
        set(outer, FRAME_PREVIOUS, outer);
    } else if (is(mode, "frames_without_end")) {
        u8 *block = zeroed(endless * 128), *last = root;
        for (u64 i = 0; i < endless; i++) last = frame_at(block + i * 128, leaf_code, last, OWNED_BY_THREAD);
        set(leaf, FRAME_PREVIOUS, last);
    } else if (is(mode, "shims_without_end")) {
        u8 *a = frame(leaf_code, 0, OWNED_BY_CSTACK), *b = frame(leaf_code, a, OWNED_BY_CSTACK);
        set(a, FRAME_PREVIOUS, b);
        set(leaf, FRAME_PREVIOUS, a);
    } else if (is(mode, "frames_nowhere")) {
        set(middle, FRAME_PREVIOUS, nowhere[0]);
    } else if (is(mode, "leaf_nowhere")) {
        set(state, THREAD_FRAME, nowhere[1]);
    } else if (is(mode, "threads_in_a_ring")) {
        u8 *other = thread(interpreter, state, 0x1000, 0);
        set_number(state, THREAD_ID, 0x2000);
        set(state, THREAD_NEXT, other);
    } else if (is(mode, "many_threads") || is(mode, "threads_without_end")) {
        const u64 count = is(mode, "many_threads") ? 30000 : endless;
        u8 *block = zeroed(count * 256 + 4096), *last = 0;
        for (u64 i = 0; i < count; i++) last = thread_at(block + i * 256, interpreter, last, 0x1000 + i * 64, 0);
        set_number(state, THREAD_ID, 0x2000);
        set(state, THREAD_NEXT, last);
    } else if (is(mode, "interpreters_in_a_ring")) {
        u8 *other = zeroed(1 << 20);
        set(other, INTERPRETER_NEXT, interpreter);
        set(interpreter, INTERPRETER_NEXT, other);
        set_number(state, THREAD_ID, 0x2000);
    } else if (is(mode, "lengths")) {
        set_number(*(u8 **)(leaf_code + offset(CODE_QUALNAME)), STR_LENGTH, 1ull << 63);
        set_number(*(u8 **)(leaf_code + offset(CODE_FILE)), STR_LENGTH, ~0ull);
        set_number(*(u8 **)(leaf_code + offset(CODE_LINES)), BYTES_SIZE, 1ull << 63);
    } else if (is(mode, "huge_name")) {
        const u64 huge = 100 << 20;
        char *characters = malloc(huge + 1);
        memset(characters, 'x', huge);
        characters[huge] = 0;
        set(leaf_code, CODE_QUALNAME, str(characters));
        set(leaf_code, CODE_FILE, str(characters));
        free(characters);
    } else if (is(mode, "lines_without_end")) {
        // Every byte begins another entry of one unit without a line; the instruction stands behind all of them.
        const u64 huge = 64 << 20;
        u8 *data = malloc(huge);
        memset(data, 0x80 | 15 << 3, huge);
        set(leaf_code, CODE_LINES, bytes(data, huge, huge));
        free(data);
        set(leaf, FRAME_INSTR, leaf_code + offset(CODE_BYTECODE) + 0x7ffffff0);
    } else if (is(mode, "line_entry_without_end")) {
        // A number whose every byte says that another follows (Objects/locations.md, varint).
        const u64 huge = 1 << 20;
        u8 *data = malloc(huge);
        memset(data, 0x40, huge);
        data[0] = 0x80 | 13 << 3;
        set(leaf_code, CODE_LINES, bytes(data, huge, huge));
        free(data);
    } else if (is(mode, "escapes_in_names")) {
        set(leaf_code, CODE_QUALNAME, str("\033]0;owned\007\033[2J\r\n../../etc/passwd\x9b" "31m"));
        set(leaf_code, CODE_FILE, str("/tmp/\033[31m\n../../../etc/shadow\xff\xfe"));
    } else if (is(mode, "links_that_change")) {
        meddle = flip_links;
    } else if (is(mode, "threads_that_change")) {
        meddle = flip_threads;
    } else if (is(mode, "codes_that_change")) {
        meddle = flip_codes;
    } else if (is(mode, "code_without_end")) {
        between = new_code;
    } else {
        fprintf(stderr, "no such mode: %s\n", mode);
        exit(2);
    }
}

int main(int argc, char **argv) {
    pthread_t other;
    const char *mode = argc > 1 ? argv[1] : "honest";
    // Whoever started it may have to put it into a control group first.
    char go;
    if (argc == 2 && read(0, &go, 1) != 1) return 1;
    honest();
    forge(mode);
    if (is(mode, "exec_for_ever")) {
        // The line is said once, by the first image.
        if (argc == 2) puts("ready"), fflush(stdout);
        for (volatile int i = 0; i < 3000000; i++) {
        }
        execl("/proc/self/exe", argv[0], mode, "again", (char *)0);
        abort();
    }
    if (is(mode, "fork_for_ever")) {
        puts("ready"), fflush(stdout);
        if (fork() == 0) fork_for_ever();
    }
    if (is(mode, "tasks_without_end")) many_tasks();
    pthread_create(&other, 0, ending, 0);
    if (meddle) pthread_create(&other, 0, meddler, 0);
    puts("ready");
    fflush(stdout);
    for (u64 round = 0;; round++) {
        if (between) between(round);
        for (volatile int i = 0; i < 20000; i++) {
        }
    }
}
