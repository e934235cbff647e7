/* Score a wav file: example SONG.wav AUDIOGRAM [LEVEL1]
 *
 *     example song.wav 35,35,40,50,55,60,65,65
 *
 * The file contains the signal at the ear, amplification included, at 16 kHz. Channels are averaged. Every 160 ms the
 * program prints the time, the score of the last patches and the level. The last line is the mean over consecutive
 * windows, the score that `haaqi-edge score` prints. Compiled with -DHAAQI_NALR=1, the program amplifies for the listener
 * first, as `haaqi-edge score --nal-r` does; with -DHAAQI_DECIMATE=1, it reads files at 48 kHz.
 */
#include "haaqi_nano.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 256, MAX_CHANNELS = 8, SLACK = 256, PCM = 1, IEEE_FLOAT = 3, EXTENSIBLE = 0xFFFE };

typedef struct wav {
    FILE *file;
    unsigned format, channels, bytes; /* of a sample */
    unsigned long frames;             /* left */
} wav;

static haaqi_nano stream;

static unsigned long little_endian(const unsigned char *at, unsigned bytes)
{
    unsigned long value = 0;
    while (bytes > 0)
        value = value << 8 | at[--bytes];
    return value;
}

static int is_placeholder(unsigned long size)
{
    /* Sizes that ffmpeg, sox and arecord write into pipes, give or take a header. */
    static const unsigned long sizes[] = {0x7FFFF000ul, 0x7FFFFFFFul, 0x80000000ul, 0xFFFFFFFFul};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if ((size > sizes[i] ? size - sizes[i] : sizes[i] - size) <= SLACK)
            return 1;
    return size == 0;
}

/* Return whether a known chunk begins at a position. Read its name and size. */
static int is_known(FILE *file, unsigned long at, unsigned char *head)
{
    static const char names[] = "LIST id3  ID3  bext fact cue  smpl inst PEAK JUNK junk _PMX iXML LGWV acid PAD  "
                                "fmt  data ";
    if (fseek(file, (long)at, SEEK_SET) != 0 || fread(head, 1, 8, file) != 8)
        return 0;
    for (size_t i = 0; i + 5 < sizeof names; i += 5)
        if (memcmp(head, names + i, 4) == 0)
            return 1;
    return 0;
}

/* Return whether a chunk begins at a position: a known one, or one that ends within the file. */
static int is_chunk(FILE *file, unsigned long at, unsigned long end)
{
    unsigned char head[8] = {0};
    if (at >= end || is_known(file, at, head))
        return 1;
    for (int i = 0; i < 4; i++)
        if (head[i] < 0x20 || head[i] > 0x7E)
            return 0;
    return at + 8 + little_endian(head + 4, 4) <= end;
}

/* Skip a chunk. A byte follows one of odd size, but some programs leave it out. */
static int skip_chunk(FILE *file, unsigned long size)
{
    unsigned char head[8];
    unsigned long end = (unsigned long)ftell(file) + size;
    if ((size & 1) != 0 && (!is_known(file, end, head) || is_known(file, end + 1, head)))
        end++;
    return fseek(file, (long)end, SEEK_SET) == 0;
}

/* Return whether the bytes from `at` to `end` are more audio than the header announces: neither few nor zeros. */
static int is_audio(FILE *file, unsigned long at, unsigned long end, unsigned long bytes_per_second)
{
    int byte = 0;
    if (end <= at || end - at < bytes_per_second / 4 || fseek(file, (long)at, SEEK_SET) != 0)
        return 0;
    while (at < end && (byte = fgetc(file)) == 0)
        at++;
    return at < end && byte != EOF;
}

/* Find the end of the samples, from `start` on, and return a description of the error, or NULL. The rules are those of
 * `haaqi-edge score`: a placeholder means the rest of the file, a size that is too large a truncated file, unless the
 * file is whole by its other size, and one that is too small is ignored. */
static const char *find_end(wav *in, unsigned long start, unsigned long size, unsigned long riff)
{
    unsigned long frame = in->channels * in->bytes, per_second = frame * HAAQI_INPUT_RATE, used, after, limit, end;
    int known = !is_placeholder(riff), complete;
    if (fseek(in->file, 0, SEEK_END) != 0 || ftell(in->file) < 0)
        return "is not a regular file";
    end = (unsigned long)ftell(in->file);
    complete = known && (riff + 8 > end ? riff + 8 - end : end - riff - 8) <= 1;
    used = end > start ? end - start : 0;
    if (!is_placeholder(size) || (size == 0 && is_chunk(in->file, start, end))) {
        if (size > used && size - used >= frame && !(complete && size - used <= SLACK))
            return "is truncated: copy it again";
        used = size < used ? size : used;
        after = start + used + (used & 1);
        limit = known && riff + 8 < end ? riff + 8 : end;
        if (limit > after) {
            if (!is_chunk(in->file, after, end) && is_audio(in->file, start + used, limit, per_second))
                used = limit - start;
        } else if (!is_chunk(in->file, after, end) && is_audio(in->file, start + used, end, per_second)) {
            used = end - start;
        }
    }
    in->frames = used / frame;
    if (in->frames == 0)
        return "holds no samples";
    return fseek(in->file, (long)start, SEEK_SET) == 0 ? NULL : "cannot be read";
}

/* Read the header of a wav file. Return a description of the error, or NULL. */
static const char *open_wav(wav *in, const char *path)
{
    unsigned char head[40];
    unsigned long size, riff;
    in->format = 0;
    in->file = fopen(path, "rb");
    if (in->file == NULL)
        return "cannot be opened";
    if (fread(head, 1, 12, in->file) != 12 || memcmp(head, "RIFF", 4) != 0 || memcmp(head + 8, "WAVE", 4) != 0)
        return "is not a wav file";
    riff = little_endian(head + 4, 4);
    while (fread(head, 1, 8, in->file) == 8) {
        size = little_endian(head + 4, 4);
        if (memcmp(head, "data", 4) == 0) {
            if (in->format == 0)
                return "has no format";
            return find_end(in, (unsigned long)ftell(in->file), size, riff);
        }
        if (memcmp(head, "fmt ", 4) == 0 && size >= 16 && size <= sizeof head) {
            if (fread(head, 1, size, in->file) != size)
                break;
            in->format = (unsigned)little_endian(head, 2);
            if (in->format == EXTENSIBLE && size >= 26)
                in->format = (unsigned)little_endian(head + 24, 2);
            in->channels = (unsigned)little_endian(head + 2, 2);
            in->bytes = (unsigned)little_endian(head + 14, 2) / 8;
            if (little_endian(head + 4, 4) != HAAQI_INPUT_RATE)
                return HAAQI_DECIMATE ? "is not at 48 kHz: resample it first" : "is not at 16 kHz: resample it first";
            if (in->channels < 1 || in->channels > MAX_CHANNELS)
                return "has no channels or too many";
            if (!(in->format == PCM && in->bytes >= 2 && in->bytes <= 4) &&
                !(in->format == IEEE_FLOAT && in->bytes == 4))
                return "contains neither integers of 16 to 32 bits nor floats of 32 bits";
        } else if (!skip_chunk(in->file, size)) {
            break;
        }
    }
    return "is truncated: it ends before its samples";
}

static float sample(const wav *in, const unsigned char *at)
{
    uint32_t bits = (uint32_t)little_endian(at, in->bytes) << (8 * (4 - in->bytes)); /* the sign is the highest bit */
    if (in->format == IEEE_FLOAT) {
        float value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    return (bits < 0x80000000u ? (float)bits : (float)bits - 4294967296.0f) / 2147483648.0f;
}

/* Read up to CHUNK samples, with channels averaged, and return their number. */
static size_t read_wav(wav *in, float *samples)
{
    static unsigned char raw[CHUNK * MAX_CHANNELS * 4];
    size_t width = in->channels * in->bytes, wanted = in->frames < CHUNK ? (size_t)in->frames : (size_t)CHUNK;
    size_t got = fread(raw, width, wanted, in->file);
    for (size_t i = 0; i < got; i++) {
        samples[i] = 0.0f;
        for (unsigned channel = 0; channel < in->channels; channel++)
            samples[i] += sample(in, raw + i * width + channel * in->bytes);
        samples[i] /= (float)in->channels;
    }
    in->frames = got < wanted ? 0 : in->frames - (unsigned long)got;
    return got;
}

/* Write up to CHUNK of the zeros that are left, and return their number. */
static size_t write_zeros(float *samples, size_t *left)
{
    size_t count = *left < CHUNK ? *left : (size_t)CHUNK;
    for (size_t i = 0; i < count; i++)
        samples[i] = 0.0f;
    *left -= count;
    return count;
}

static int read_audiogram(const char *text, float *levels)
{
    for (int i = 0; i < HAAQI_LEVELS; i++) {
        char *end;
        levels[i] = strtof(text, &end);
        if (end == text || *end != (i + 1 < HAAQI_LEVELS ? ',' : '\0'))
            return 0;
        text = end + 1;
    }
    return 1;
}

static int read_level(const char *text, float *level)
{
    char *end;
    *level = strtof(text, &end);
    return end != text && *end == '\0';
}

static int failed(const char *what, const char *why)
{
    fprintf(stderr, "error: %s %s\n", what, why);
    return 2;
}

/* Add the score of a window to the mean, weighted by the patches that it adds. A silent window has no score. */
static void count_window(haaqi_status status, float score, long added, double *total, long *scored)
{
    if (status != HAAQI_OK)
        return;
    *total += (double)score * (double)added;
    *scored += added;
}

int main(int argc, char **argv)
{
    float audiogram[HAAQI_LEVELS], samples[CHUNK], level1 = HAAQI_LEVEL1, score = 0.0f, level = 0.0f;
    double total = 0.0;
    wav in;
    const char *wrong;
    size_t got, zeros = HAAQI_DELAY; /* after the recording */
    long patches = 0, scored = 0, added = 0; /* scored: in windows that have a score; added: in no window yet */
    haaqi_status status = HAAQI_TOO_SHORT;
    if (argc < 3 || argc > 4)
        return failed("usage:", "example SONG.wav LEVEL,LEVEL,LEVEL,LEVEL,LEVEL,LEVEL,LEVEL,LEVEL [LEVEL1]");
    if (!read_audiogram(argv[2], audiogram))
        return failed(argv[2], "is not an audiogram: give 8 levels in dB HL, separated by commas");
    if ((argc == 4 && !read_level(argv[3], &level1)) || haaqi_init(&stream, level1) != HAAQI_OK)
        return failed(argv[3], "is not a level of RMS 1.0: give 0 to 140 dB SPL");
#if HAAQI_NALR
    if (haaqi_amplify(&stream, audiogram) != HAAQI_OK)
        return failed(argv[2], "contains a level outside -10 to 120 dB HL");
#endif
    memset(&in, 0, sizeof in);
    wrong = open_wav(&in, argv[1]);
    if (wrong != NULL)
        return failed(argv[1], wrong);
    while ((got = read_wav(&in, samples)) > 0 || (got = write_zeros(samples, &zeros)) > 0) {
        int complete = haaqi_process(&stream, samples, got);
        if (complete < 0)
            return failed(argv[1], "contains a sample that is not a number, or is far too loud");
        patches += complete;
        if (complete == 0)
            continue;
        double seconds = (double)((patches - 1) * HAAQI_PATCH_SHIFT + HAAQI_PATCH_LENGTH) / HAAQI_SAMPLE_RATE;
        status = haaqi_score(&stream, audiogram, &score, NULL);
        if (status == HAAQI_BAD_AUDIOGRAM)
            return failed(argv[2], "contains a level outside -10 to 120 dB HL");
        if (status == HAAQI_SILENT)
            printf("%8.3f s  silent\n", seconds);
        else if (haaqi_level(&stream, &level) == HAAQI_OK)
            printf("%8.3f s  %.6f  %5.1f dB SPL\n", seconds, (double)score, (double)level);
        else
            printf("%8.3f s  %.6f\n", seconds, (double)score);
        added += complete;
        if (added == HAAQI_WINDOW) {
            count_window(status, score, added, &total, &scored);
            added = 0;
        }
    }
    fclose(in.file);
    if (patches == 0)
        return failed(argv[1], "is shorter than one patch of 175 ms");
    count_window(status, score, added, &total, &scored); /* the last window ends with the last patch */
    if (scored > 0)
        printf("%10s  %.6f\n", "mean", total / (double)scored);
    else
        printf("%10s  silent\n", "mean");
    return 0;
}
