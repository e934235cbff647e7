"""Audio: reading files and arrays, resampling, PCM, presentation levels and NAL-R."""
