#pragma once
/* What this processor can do. */

#include <stdbool.h>

/* Instructions for AES: without them AES-GCM is several times slower than ChaCha20-Poly1305. */
bool cpu_has_aes(void);
