"""What runs on the device: audio in, audiogram, levels, fbank, sessions, scorer; the shipped artifacts. No torch."""
