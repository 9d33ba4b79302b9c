/* Touches as much memory as the largest workload needs, and gives it back.        SPDX-License-Identifier: MIT

   On a virtual machine a page that the guest has never used, or has given back, comes from the host at its first touch:
   2 to 10 us each, whoever asks. bench/run.sh runs this before each program of the idle_… workloads, so that the program is
   measured and not the host. */
#include <stddef.h>
#include <sys/mman.h>

int main(void)
{
    const size_t size = (size_t)4 << 30;
    char *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m == MAP_FAILED) return 1;
#ifdef MADV_HUGEPAGE
    (void)madvise(m, size, MADV_HUGEPAGE);
#endif
    for (size_t i = 0; i < size; i += 4096) m[i] = 1;
    return 0;
}
