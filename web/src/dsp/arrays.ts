/** Concatenate arrays. */
export function joined(parts: readonly Float32Array[]): Float32Array<ArrayBuffer> {
  const whole = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/**
 * Return the dot product of `count` numbers of two arrays, from a position in each. Four partial sums let the processor
 * overlap the additions.
 */
export function product(a: Float32Array, atA: number, b: Float32Array, atB: number, count: number): number {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let j = 0;
  for (; j + 3 < count; j += 4) {
    s0 += a[atA + j] * b[atB + j];
    s1 += a[atA + j + 1] * b[atB + j + 1];
    s2 += a[atA + j + 2] * b[atB + j + 2];
    s3 += a[atA + j + 3] * b[atB + j + 3];
  }
  for (; j < count; j++) s0 += a[atA + j] * b[atB + j];
  return s0 + s1 + (s2 + s3);
}
