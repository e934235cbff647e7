/* Process and score, for the number of instructions on arm64: arm64 PATCHES SCORES. The last score covers a complete
 * window if there are as many patches. */
#include "haaqi_nano.h"

#include <stdlib.h>

static haaqi_nano ear;
static float samples[HAAQI_PATCH_SHIFT];

int main(int argc, char **argv)
{
    const float audiogram[HAAQI_LEVELS] = {35.0f, 35.0f, 40.0f, 50.0f, 55.0f, 60.0f, 65.0f, 65.0f};
    float score = 0.0f;
    int patches = argc == 3 ? atoi(argv[1]) : 0, scores = argc == 3 ? atoi(argv[2]) : 0;
    uint32_t random = 1;
    for (size_t i = 0; i < HAAQI_PATCH_SHIFT; i++) {
        random = 1664525u * random + 1013904223u;
        samples[i] = (float)(random >> 16) / 65536.0f - 0.5f;
    }
    haaqi_init(&ear, HAAQI_LEVEL1);
    haaqi_process(&ear, samples, HAAQI_PATCH_LENGTH - HAAQI_PATCH_SHIFT);
    for (int i = 0; i < patches; i++)
        haaqi_process(&ear, samples, HAAQI_PATCH_SHIFT);
    for (int i = 0; i < scores; i++)
        if (haaqi_score(&ear, audiogram, &score, NULL) != HAAQI_OK)
            return 1;
    return 0;
}
