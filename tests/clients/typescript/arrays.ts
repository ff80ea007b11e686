/** The little linear algebra that the TypeScript programs share. */

/** Little-endian float64 numbers. */
export function float64(bytes: Buffer): number[] {
  return Array.from({ length: bytes.length / 8 }, (_, at) => bytes.readDoubleLE(8 * at));
}

/** Numbers as JSON can say them. */
export function plain(numbers: number[]): (number | "NaN")[] {
  return numbers.map((number) => (Number.isNaN(number) ? "NaN" : number));
}

/** The solution of a 2x2 system whose matrix is row-major, by Cramer's rule. */
export function solve([a, b, c, d]: number[], [e, f]: number[]): number[] {
  const determinant = a! * d! - b! * c!;
  return [(e! * d! - b! * f!) / determinant, (a! * f! - e! * c!) / determinant];
}
