// relax: what a thread does between two looks at something that is about to change.
#ifndef HS_CORE_RELAX_H
#define HS_CORE_RELAX_H

static inline void hs_cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
