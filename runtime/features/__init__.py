"""Front ends in numpy: the fbank, the sound texture, and their constants."""
