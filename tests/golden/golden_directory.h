/* The data directory behind the golden files: written by the engine's own code with a fixed node
 * id, clock and records, so that it comes out the same, byte for byte, as long as the format does.
 *
 * Link with -Wl,--wrap=base_clock_realtime_ns: the clock is replaced. Fails by CHECK.
 */
#ifndef SLUICE_TESTS_GOLDEN_DIRECTORY_H
#define SLUICE_TESTS_GOLDEN_DIRECTORY_H

#define GOLDEN_SEGMENT_BYTES 28672 /* header, five batches, footer */
#define GOLDEN_NODE_ID       "0123456789abcdeffedcba9876543210"

/* Writes node, watermark and journal 0 with a sealed and an open segment; `path` must not exist. */
void golden_directory_make(const char *path);

#endif
