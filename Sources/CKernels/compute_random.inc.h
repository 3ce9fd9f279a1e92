// Philox4x32-10 (Salmon et al. 2011) on W counters at once, standard normals from it, and dropout.
//
// The normals must have the same bits at every level and on every machine, because a campaign's perturbations are
// recomputed elsewhere: they use additions, multiplications, divisions and square roots only, each rounded by IEEE 754,
// and never a fused multiply-add. Compute/Philox.swift is the reference in Float64.

typedef uint64_t vq __attribute__((vector_size(4 * W), aligned(4 * W)));

CK_INLINE void multiply_wide(vu x, uint32_t factor, vu *high, vu *low) {
  const vq even = ((vq)x & 0xFFFFFFFFull) * (uint64_t)factor, odd = ((vq)x >> 32) * (uint64_t)factor;
  *low = x * factor;
  *high = (vu)((even >> 32) | (odd & 0xFFFFFFFF00000000ull));
}

// Words 0 to 3 of the blocks first + lane, with `stream` in the third counter word.
CK_INLINE void philox(uint64_t key, uint64_t first, uint32_t stream, vu x[4]) {
  for (int i = 0; i < W; i++) {
    x[0][i] = (uint32_t)(first + (uint64_t)i);
    x[1][i] = (uint32_t)((first + (uint64_t)i) >> 32);
  }
  x[2] = (vu){0} + stream;
  x[3] = (vu){0};
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
  for (int round = 0; round < 10; round++) {
    vu high0, low0, high2, low2;
    multiply_wide(x[0], 0xD2511F53u, &high0, &low0);
    multiply_wide(x[2], 0xCD9E8D57u, &high2, &low2);
    x[0] = high2 ^ x[1] ^ k0;
    x[1] = low2;
    x[2] = high0 ^ x[3] ^ k1;
    x[3] = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

// Lanes of four vectors in block order: out[4 * i + j] = x[j][i].
#define ZIP_LOW(l) ((l) & 1 ? W + (l) / 2 : (l) / 2)
#define ZIP_HIGH(l) (W / 2 + ((l) & 1 ? W + (l) / 2 : (l) / 2))
CK_INLINE void interleave(vf x[4]) {
  const vf a = __builtin_shufflevector(x[0], x[2], LANES(ZIP_LOW)), b = __builtin_shufflevector(x[0], x[2], LANES(ZIP_HIGH));
  const vf c = __builtin_shufflevector(x[1], x[3], LANES(ZIP_LOW)), d = __builtin_shufflevector(x[1], x[3], LANES(ZIP_HIGH));
  x[0] = __builtin_shufflevector(a, c, LANES(ZIP_LOW));
  x[1] = __builtin_shufflevector(a, c, LANES(ZIP_HIGH));
  x[2] = __builtin_shufflevector(b, d, LANES(ZIP_LOW));
  x[3] = __builtin_shufflevector(b, d, LANES(ZIP_HIGH));
}

static void CK(words)(uint64_t key, uint64_t first, int64_t blocks, uint32_t *out) {
  for (int64_t i = 0; i < blocks; i += W) {
    vu x[4];
    philox(key, first + (uint64_t)i, 0, x);
    vf y[4] = {(vf)x[0], (vf)x[1], (vf)x[2], (vf)x[3]};
    interleave(y);
    const int64_t count = blocks - i < W ? blocks - i : W;
    __builtin_memcpy(out + 4 * i, y, (size_t)count * 16);
  }
}

// -2 ln u of u = (x + 1/2) 2^-32. In the upper half of x the distance to 1 is what carries the digits.
CK_INLINE vf minus_two_log(vu x) {
  const vi upper = (vi)x < 0;
  const vi distance = (vi)x ^ upper;
  const vf v = (__builtin_convertvector(distance, vf) + 0.5f) * 0x1p-32f;
  const vf w = choose(upper, 1.0f - v, v);
  const vf rest = choose(upper, (1.0f - w) - v, (vf){0}) / w;
  const vi bits = (vi)w;
  const vi exponent = (bits - 0x3F3504F3) >> 23;
  const vf f = (vf)(bits - (exponent << 23)) - 1.0f;
  const vf e = __builtin_convertvector(exponent, vf);
  const vf z = f * f;
  vf y = vset1(7.0376836292e-2f);
  y = y * f + -1.1514610310e-1f;
  y = y * f + 1.1676998740e-1f;
  y = y * f + -1.2420140846e-1f;
  y = y * f + 1.4249322787e-1f;
  y = y * f + -1.6668057665e-1f;
  y = y * f + 2.0000714765e-1f;
  y = y * f + -2.4999993993e-1f;
  y = y * f + 3.3333331174e-1f;
  y = y * f * z;
  y = y + e * -2.12194440e-4f;
  y = y + z * -0.5f + rest;
  y = (f + y) + e * 0.693359375f;
  return y * -2.0f;
}

// Cosine and sine of 2 pi (x + 1/2) 2^-32: the nearest quarter turn, and a polynomial on [-pi/4, pi/4].
CK_INLINE void cos_sin(vu x, vf *cosine, vf *sine) {
  const vu quarter = (x + 0x20000000u) >> 30;
  const vi offset = (vi)(x - (quarter << 30));
  const vf angle = (__builtin_convertvector(offset, vf) + 0.5f) * (6.283185307179586f * 0x1p-32f);
  const vf z = angle * angle;
  vf s = vset1(-1.9515295891e-4f);
  s = s * z + 8.3321608736e-3f;
  s = s * z + -1.6666654611e-1f;
  s = s * z * angle + angle;
  vf c = vset1(2.443315711809948e-5f);
  c = c * z + -1.388731625493765e-3f;
  c = c * z + 4.166664568298827e-2f;
  c = c * z * z - 0.5f * z + 1.0f;
  const vi odd = (vi)((quarter & 1u) != 0u);
  const vi flip_cosine = (vi)((quarter + 1u) & 2u) << 30, flip_sine = (vi)(quarter & 2u) << 30;
  *cosine = (vf)((vi)choose(odd, s, c) ^ flip_cosine);
  *sine = (vf)((vi)choose(odd, c, s) ^ flip_sine);
}

CK_INLINE void stream_normals(uint64_t key, uint64_t first, uint32_t stream, int64_t count, float *out) {
  for (int64_t i = 0; i < count; i += 4 * W) {
    vu x[4];
    philox(key, first + (uint64_t)(i / 4), stream, x);
    vf z[4];
    for (int pair = 0; pair < 4; pair += 2) {
      const vf radius = vsqrt(minus_two_log(x[pair]));
      vf cosine, sine;
      cos_sin(x[pair + 1], &cosine, &sine);
      z[pair] = radius * cosine;
      z[pair + 1] = radius * sine;
    }
    interleave(z);
    const int64_t left = count - i < 4 * W ? count - i : 4 * W;
    __builtin_memcpy(out + i, z, (size_t)left * 4);
  }
}

static void CK(normals)(uint64_t key, uint64_t first, int64_t count, float *out) {
  stream_normals(key, first, 0, count, out);
}

static void CK(normal)(const ck_call *call) {
  const uint32_t *words = call->p[1];
  const uint64_t key = (uint64_t)words[0] | (uint64_t)words[1] << 32;
  stream_normals(key, 0, (uint32_t)call->n[1], call->n[0], call->p[0]);
}

static void CK(dropout)(const ck_call *call) {
  const int64_t count = call->n[0];
  const uint32_t *words = call->p[2], stream = (uint32_t)call->n[1];
  const uint64_t key = (uint64_t)words[0] | (uint64_t)words[1] << 32;
  const double rate = (double)call->a[0];
  const uint32_t threshold = (uint32_t)(rate * 0x1p32);
  const float scale = (float)(1.0 / (1.0 - rate));
  const float *in = call->p[1];
  float *out = call->p[0];
  for (int64_t i = 0; i < count; i += 4 * W) {
    vu x[4];
    philox(key, (uint64_t)(i / 4), stream, x);
    vf y[4] = {(vf)x[0], (vf)x[1], (vf)x[2], (vf)x[3]};
    interleave(y);
    for (int v = 0; v < 4 && i + v * W < count; v++) {
      const int64_t left = count - i - v * W;
      const vf kept = load_n(in + i + v * W, left) * scale;
      store_n(out + i + v * W, choose((vi)((vu)y[v] >= threshold), kept, (vf){0}), left);
    }
  }
}
