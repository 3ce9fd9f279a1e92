"""Records learning curves of small models in JAX, one for each family, for parity tests.

usage: record_curves.py TARGET.safetensors        (needs jax and numpy; written with JAX 0.10.2 on a CPU, float32)

Each family NAME has `NAME/init/<tensor>` (initial weights), `NAME/batch/<port>` [5, ...] (batches, used in turn) and
`NAME/losses` [50], the loss of each step of Adam (rate 1e-3) before its update. The metadata hold the model as it is
given to a job, and the shape of the data. The models are written here from their papers, not from our layers.
"""
import json
import struct
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

STEPS, BATCHES = 50, 5
rng = np.random.default_rng(20)


# ---------------------------------------------------------------- pieces
def cross_entropy(logits, labels):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1))


def dense(p, name, x):
    return x @ p[f"{name}/w"] + p[f"{name}/b"]


def conv(p, name, x, stride=1, padding="SAME"):
    y = jax.lax.conv_general_dilated(
        x, p[f"{name}/w"], (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y + p[f"{name}/b"] if f"{name}/b" in p else y


def batch_norm(p, name, x, epsilon=1e-5):
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axes), x.var(axes)
    return (x - mean) * jax.lax.rsqrt(variance + epsilon) * p[f"{name}/scale"] + p[f"{name}/offset"]


def layer_norm(p, name, x, epsilon=1e-5):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + epsilon) * p[f"{name}/scale"] + p[f"{name}/offset"]


def attention(p, name, x, heads, causal):
    rows, length, width = x.shape
    q, k, v = jnp.split(dense(p, f"{name}/qkv", x).reshape(rows, length, 3 * heads, -1), 3, 2)
    a = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(width // heads)
    if causal:
        a = jnp.where(jnp.tril(jnp.ones((length, length), bool)), a, -1e9)
    o = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(a), v).reshape(rows, length, width)
    return dense(p, f"{name}/out", o)


def scan(cell, carry, xs):
    return jnp.swapaxes(jax.lax.scan(cell, carry, jnp.swapaxes(xs, 0, 1))[1], 0, 1)


def recurrent(p, name, x, kind, units):
    xs = x @ p[f"{name}/w"] + p[f"{name}/b"]
    u, zero = p[f"{name}/u"], jnp.zeros((x.shape[0], units))
    if kind == "vanilla":
        def cell(h, x):
            h = jax.nn.relu(x + h @ u)
            return h, h
        return scan(cell, zero, xs)
    if kind == "gru":
        def cell(h, x):
            z, r = jnp.split(jax.nn.sigmoid(x[:, :2 * units] + h @ u), 2, -1)
            a = jnp.tanh(x[:, 2 * units:] + (r * h) @ p[f"{name}/u_candidate"])
            h = (1 - z) * h + z * a
            return h, h
        return scan(cell, zero, xs)

    def cell(carry, x):
        h, c = carry
        i, f, g, o = jnp.split(x + h @ u, 4, -1)
        c = jax.nn.sigmoid(f + 1) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h
    return scan(cell, (zero, zero), xs)


def philox_normals(key, stream, count):
    """Standard normals by Box-Muller from Philox4x32-10 blocks (j, 0, stream, 0)."""
    blocks = (count + 3) // 4
    x = [np.arange(blocks, dtype=np.uint64), np.zeros(blocks, np.uint64),
         np.full(blocks, stream, np.uint64), np.zeros(blocks, np.uint64)]
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    mask = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        a, b = x[0] * np.uint64(0xD2511F53), x[2] * np.uint64(0xCD9E8D57)
        x = [(b >> np.uint64(32)) ^ x[1] ^ k0, b & mask, (a >> np.uint64(32)) ^ x[3] ^ k1, a & mask]
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & mask, (k1 + np.uint64(0xBB67AE85)) & mask
    u = [(w.astype(np.float64) + 0.5) * 2.0**-32 for w in x]
    out = []
    for a, b in ((u[0], u[1]), (u[2], u[3])):
        radius = np.sqrt(-2 * np.log(a))
        out += [radius * np.cos(2 * np.pi * b), radius * np.sin(2 * np.pi * b)]
    return np.stack(out, -1).reshape(-1)[:count].astype(np.float32)


# ---------------------------------------------------------------- initial weights and data
def normal(*shape, scale=None):
    scale = scale or 1 / np.sqrt(np.prod(shape[:-1]))
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def dense_init(name, i, o):
    return {f"{name}/w": normal(i, o), f"{name}/b": normal(o, scale=0.1)}


def norm_init(name, c):
    return {f"{name}/scale": 1 + normal(c, scale=0.1), f"{name}/offset": normal(c, scale=0.1)}


def conv_init(name, k, i, o, bias=True):
    p = {f"{name}/w": normal(k, k, i, o)}
    return p | {f"{name}/b": normal(o, scale=0.1)} if bias else p


def images(rows, classes, *shape):
    return {"inputs": rng.random((BATCHES, rows) + shape, dtype=np.float32),
            "labels": rng.integers(0, classes, (BATCHES, rows), dtype=np.int32)}


def text(rows, length, vocabulary):
    tokens = rng.integers(0, vocabulary, (BATCHES, rows, length + 1), dtype=np.int32)
    return {"inputs": tokens[..., :-1].copy(), "labels": tokens[..., 1:].copy()}


FAMILIES = {}


def family(model, data_shape, params, batches, loss):
    name = model.get("name") or model["preset"]
    model = {k: v for k, v in model.items() if k != "name"}
    FAMILIES[name] = (model, data_shape, params, batches, loss)


# ---------------------------------------------------------------- the families
def mlp_params(sizes):
    p = {}
    for k, (i, o) in enumerate(zip(sizes, sizes[1:])):
        p |= dense_init(f"dense_{k}", i, o)
    return p


def mlp(p, x, count, act):
    for k in range(count - 1):
        x = act(dense(p, f"dense_{k}", x))
    return dense(p, f"dense_{count - 1}", x)


family({"preset": "mlp", "hidden": [17, 13], "activation": "relu"}, {"input": [11], "classes": 5},
       mlp_params([11, 17, 13, 5]), images(16, 5, 11),
       lambda p, b: cross_entropy(mlp(p, b["inputs"], 3, jax.nn.relu), b["labels"]))

regression = images(16, 2, 7)
regression["targets"] = rng.standard_normal((BATCHES, 16, 3)).astype(np.float32)
del regression["labels"]
family({"name": "regression", "preset": "mlp", "hidden": [16], "activation": "tanh"}, {"input": [7], "outputs": 3},
       mlp_params([7, 16, 3]), regression,
       lambda p, b: jnp.mean((mlp(p, b["inputs"], 2, jnp.tanh) - b["targets"]) ** 2))

family({"preset": "softmax_regression"}, {"input": [11], "classes": 5}, mlp_params([11, 5]), images(16, 5, 11),
       lambda p, b: cross_entropy(mlp(p, b["inputs"], 1, None), b["labels"]))


def cnn(p, b):
    x = b["inputs"]
    for k in range(2):
        x = jax.nn.relu(conv(p, f"conv_{k}", x, 2))
    return cross_entropy(dense(p, "dense_3", x.mean((1, 2))), b["labels"])


family({"preset": "cnn", "filters": [8, 12]}, {"input": [9, 9, 3], "classes": 5},
       conv_init("conv_0", 3, 3, 8) | conv_init("conv_1", 3, 8, 12) | dense_init("dense_3", 12, 5),
       images(8, 5, 9, 9, 3), cnn)


def cnn_pool(p, b):
    x = jax.nn.relu(batch_norm(p, "batch_norm_1", conv(p, "conv_0", b["inputs"])))
    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")
    return cross_entropy(dense(p, "dense_5", x.mean((1, 2))), b["labels"])


family({"name": "cnn_batch_norm", "preset": "cnn", "filters": [8], "norm": "batch", "pool": True},
       {"input": [7, 7, 3], "classes": 5},
       conv_init("conv_0", 3, 3, 8, bias=False) | norm_init("batch_norm_1", 8) | dense_init("dense_5", 8, 5),
       images(8, 5, 7, 7, 3), cnn_pool)


def resnet(p, b):
    x = conv(p, "stem", b["inputs"])
    for group, stride in enumerate([1, 2]):
        name = f"group{group}.block0"
        start = jax.nn.relu(batch_norm(p, f"{name}.norm0", x))
        shortcut = conv(p, f"{name}.shortcut", start, stride)
        y = conv(p, f"{name}.conv0", start, stride)
        y = jax.nn.relu(batch_norm(p, f"{name}.norm1", y))
        x = conv(p, f"{name}.conv1", y) + shortcut
    x = jax.nn.relu(batch_norm(p, "norm", x))
    return cross_entropy(dense(p, "head", x.mean((1, 2))), b["labels"])


def resnet_params():
    p = conv_init("stem", 3, 3, 8, bias=False)
    for group, (i, o) in enumerate([(8, 8), (8, 12)]):
        name = f"group{group}.block0"
        p |= norm_init(f"{name}.norm0", i) | conv_init(f"{name}.shortcut", 1, i, o, bias=False)
        p |= conv_init(f"{name}.conv0", 3, i, o, bias=False) | norm_init(f"{name}.norm1", o)
        p |= conv_init(f"{name}.conv1", 3, o, o, bias=False)
    return p | norm_init("norm", 12) | dense_init("head", 12, 5)


family({"preset": "resnet", "blocks": [1, 1], "channels": [8, 12]}, {"input": [8, 8, 3], "classes": 5},
       resnet_params(), images(8, 5, 8, 8, 3), resnet)


def rnn_params(kind, vocabulary, embedding, units):
    gates = {"vanilla": 1, "gru": 3, "lstm": 4}[kind]
    p = {"embedding/w": normal(vocabulary, embedding, scale=0.5), "rnn0/w": normal(embedding, gates * units),
         "rnn0/b": normal(gates * units, scale=0.1)}
    if kind == "gru":
        p |= {"rnn0/u": normal(units, 2 * units), "rnn0/u_candidate": normal(units, units)}
    else:
        p |= {"rnn0/u": normal(units, gates * units)}
    return p | dense_init("head", units, vocabulary)


for kind in ("vanilla", "gru", "lstm"):
    family({"name": f"rnn_{kind}", "preset": "rnn", "cell": kind, "units": 13, "embedding": 9},
           {"input": [11], "vocabulary": 23}, rnn_params(kind, 23, 9, 13), text(6, 11, 23),
           partial(lambda kind, p, b: cross_entropy(
               dense(p, "head", recurrent(p, "rnn0", p["embedding/w"][b["inputs"]], kind, 13)), b["labels"]), kind))


def block_init(name, width, hidden):
    attn, ff = f"{name}.attention", f"{name}.mlp"
    return (norm_init(f"{attn}.norm", width) | dense_init(f"{attn}/qkv", width, 3 * width)
            | dense_init(f"{attn}/out", width, width) | norm_init(f"{ff}.norm", width)
            | dense_init(f"{ff}.up", width, hidden) | dense_init(f"{ff}.down", hidden, width))


def block(p, name, x, heads, causal, epsilon):
    attn, ff = f"{name}.attention", f"{name}.mlp"
    x = x + attention(p, attn, layer_norm(p, f"{attn}.norm", x, epsilon), heads, causal)
    h = jax.nn.gelu(dense(p, f"{ff}.up", layer_norm(p, f"{ff}.norm", x, epsilon)))
    return x + dense(p, f"{ff}.down", h)


def transformer(p, b):
    x = p["embedding/w"][b["inputs"]] + p["positions/w"]
    for k in range(2):
        x = block(p, f"block{k}", x, 3, True, 1e-5)
    return cross_entropy(dense(p, "head", layer_norm(p, "norm", x)), b["labels"])


family({"preset": "transformer", "layers": 2, "width": 12, "heads": 3}, {"input": [9], "vocabulary": 23},
       {"embedding/w": normal(23, 12, scale=0.5), "positions/w": normal(9, 12, scale=0.5)}
       | block_init("block0", 12, 48) | block_init("block1", 12, 48) | norm_init("norm", 12)
       | dense_init("head", 12, 23), text(5, 9, 23), transformer)


def patches(p, x):
    x = conv(p, "patches", x, 4, "VALID")
    return x.reshape(x.shape[0], -1, x.shape[-1])


def vit(p, b):
    x = patches(p, b["inputs"])
    x = jnp.concatenate([jnp.broadcast_to(p["class_token/w"], (x.shape[0], 1, x.shape[2])), x], 1)
    x = block(p, "block0", x + p["positions/w"], 2, False, 1e-6)
    return cross_entropy(dense(p, "head", layer_norm(p, "norm", x, 1e-6)[:, 0]), b["labels"])


family({"preset": "vit", "patch": 4, "layers": 1, "width": 10, "heads": 2, "mlp": 20},
       {"input": [8, 8, 3], "classes": 5},
       conv_init("patches", 4, 3, 10) | {"class_token/w": normal(1, 10, scale=0.5),
                                         "positions/w": normal(5, 10, scale=0.5)}
       | block_init("block0", 10, 20) | norm_init("norm", 10) | dense_init("head", 10, 5),
       images(8, 5, 8, 8, 3), vit)


def mixer(p, b):
    x = patches(p, b["inputs"])
    t, c = "block0.tokens", "block0.channels"
    h = jnp.swapaxes(layer_norm(p, f"{t}.norm", x, 1e-6), 1, 2)
    x = x + jnp.swapaxes(dense(p, f"{t}.down", jax.nn.gelu(dense(p, f"{t}.up", h))), 1, 2)
    h = layer_norm(p, f"{c}.norm", x, 1e-6)
    x = x + dense(p, f"{c}.down", jax.nn.gelu(dense(p, f"{c}.up", h)))
    return cross_entropy(dense(p, "head", layer_norm(p, "norm", x, 1e-6).mean(1)), b["labels"])


family({"preset": "mixer", "patch": 4, "layers": 1, "width": 10, "tokens": 6, "mlp": 20},
       {"input": [8, 8, 3], "classes": 5},
       conv_init("patches", 4, 3, 10) | norm_init("block0.tokens.norm", 10) | dense_init("block0.tokens.up", 4, 6)
       | dense_init("block0.tokens.down", 6, 4) | norm_init("block0.channels.norm", 10)
       | dense_init("block0.channels.up", 10, 20) | dense_init("block0.channels.down", 20, 10)
       | norm_init("norm", 10) | dense_init("head", 10, 5),
       images(8, 5, 8, 8, 3), mixer)


def only_inputs(rows, *shape):
    return {"inputs": rng.random((BATCHES, rows) + shape, dtype=np.float32)}


def autoencoder(p, b):
    x = b["inputs"].reshape(b["inputs"].shape[0], -1)
    y = x
    for k in (1, 2, 3):
        y = jax.nn.relu(dense(p, f"dense_{k}", y))
    return jnp.mean((jax.nn.sigmoid(dense(p, "dense_4", y)) - x) ** 2)


def numbered(first, sizes):
    p = {}
    for k, (i, o) in enumerate(zip(sizes, sizes[1:])):
        p |= dense_init(f"dense_{first + k}", i, o)
    return p


family({"preset": "autoencoder", "hidden": [16, 4, 16]}, {"input": [6, 6], "classes": 5},
       numbered(1, [36, 16, 4, 16, 36]), only_inputs(8, 6, 6), autoencoder)

LATENT = 3
KEYS = np.array([[1000 + t, 77] for t in range(STEPS)], np.int32)
LATENT_STREAM = 3  # the latent layer's index


def vae(p, b):
    x = b["inputs"].reshape(b["inputs"].shape[0], -1)
    h = dense(p, "dense_2", jax.nn.relu(dense(p, "dense_1", x)))
    mean, log_deviation = h[:, :LATENT], h[:, LATENT:]
    z = mean + jnp.exp(log_deviation) * b["noise"]
    y = dense(p, "dense_5", jax.nn.relu(dense(p, "dense_4", z)))
    likelihood = jnp.mean(jax.nn.softplus(y) - y * x)
    kl = jnp.sum(0.5 * (mean**2 + jnp.exp(2 * log_deviation) - 1) - log_deviation, -1).mean()
    return likelihood + kl / x.shape[1]


family({"preset": "vae", "hidden": [16], "latent": LATENT}, {"input": [6, 6], "classes": 5},
       dense_init("dense_1", 36, 16) | dense_init("dense_2", 16, 2 * LATENT) | dense_init("dense_4", LATENT, 16)
       | dense_init("dense_5", 16, 36), only_inputs(8, 6, 6), vae)


# ---------------------------------------------------------------- training and the file
def train(params, batches, loss, keyed):
    p = {k: jnp.asarray(v) for k, v in params.items()}
    m = jax.tree.map(jnp.zeros_like, p)
    v = jax.tree.map(jnp.zeros_like, p)

    @jax.jit
    def step(p, m, v, t, batch):
        value, g = jax.value_and_grad(loss)(p, batch)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        a, b = 1 / (1 - 0.9 ** (t + 1.0)), 1 / (1 - 0.999 ** (t + 1.0))
        p = jax.tree.map(lambda p, m, v: p - 1e-3 * m * a / (jnp.sqrt(v * b) + 1e-8), p, m, v)
        return p, m, v, value

    losses = []
    for t in range(STEPS):
        batch = {k: jnp.asarray(x[t % BATCHES]) for k, x in batches.items()}
        if keyed:
            rows = batch["inputs"].shape[0]
            batch["noise"] = philox_normals(KEYS[t], LATENT_STREAM, rows * LATENT).reshape(rows, LATENT)
        p, m, v, value = step(p, m, v, jnp.float32(t), batch)
        losses.append(float(value))
    return np.array(losses, np.float32)


def main(target):
    tensors, metadata = {}, {}
    for name, (model, shape, params, batches, loss) in FAMILIES.items():
        losses = train(params, batches, loss, keyed=name == "vae")
        assert np.isfinite(losses).all(), name
        print(f"{name}: {losses[0]:.4f} -> {losses[-1]:.4f}")
        metadata[name] = json.dumps({"model": model, "data": shape}, sort_keys=True)
        tensors |= {f"{name}/init/{k}": v for k, v in params.items()}
        tensors |= {f"{name}/batch/{k}": v for k, v in batches.items()}
        tensors[f"{name}/losses"] = losses
    tensors["vae/keys"] = KEYS
    header, parts, offset = {"__metadata__": metadata}, [], 0
    for name in sorted(tensors):
        data = np.ascontiguousarray(tensors[name]).tobytes()
        header[name] = {"dtype": {"float32": "F32", "int32": "I32"}[str(tensors[name].dtype)],
                        "shape": list(tensors[name].shape), "data_offsets": [offset, offset + len(data)]}
        parts.append(data)
        offset += len(data)
    encoded = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    open(target, "wb").write(struct.pack("<Q", len(encoded)) + encoded + b"".join(parts))


main(sys.argv[1])
