/* The unwinder of Debian's gcc is built for glibc and asks it for _dl_find_object; musl-gcc links that unwinder with musl,
   which has no such function (a gcc that was built for musl does not ask for it). Here it is, for the tests. */
#define _GNU_SOURCE
#include <link.h>
#include <stdint.h>

struct found { unsigned long long flags; void *start, *end; void *map; void *eh_frame; unsigned long long reserved[7]; };

struct question { uintptr_t pc; struct found *out; };

static int look(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct question *q = arg;
    uintptr_t lo = 0, hi = 0, eh = 0;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        uintptr_t at = info->dlpi_addr + h->p_vaddr;
        if (h->p_type == PT_GNU_EH_FRAME) eh = at;
        if (h->p_type == PT_LOAD && q->pc >= at && q->pc < at + h->p_memsz) {
            lo = at;
            hi = at + h->p_memsz;
        }
    }
    if (lo == 0 || eh == 0) return 0;
    *q->out = (struct found){ .start = (void *)lo, .end = (void *)hi, .eh_frame = (void *)eh };
    return 1;
}

int _dl_find_object(void *pc, void *out);
int _dl_find_object(void *pc, void *out)
{
    struct question q = { (uintptr_t)pc, out };
    return dl_iterate_phdr(look, &q) == 1 ? 0 : -1;
}
