"""The shader's text for a network and a look: `march.glsl` with what they are put in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

DIALECTS = {
    # The text before everything else, and what the pixel's colour and place are called.
    "core": (
        "#version 150\nin vec2 place_;\nout vec4 result_;\nuniform sampler2D depth;",
        {"RESULT": "result_", "PLACE": "place_"},
    ),
    "es": (
        "#version 300 es\nprecision highp float;\nprecision highp int;\n"
        "precision highp sampler2D;\nprecision highp sampler3D;\nprecision highp usampler3D;\n"
        "in vec2 place_;\nout vec4 result_;\nuniform sampler2D depth;",
        {"RESULT": "result_", "PLACE": "place_"},
    ),
    "vtk": (  # VTK fills in its lines, and replaces gl_FragData
        "//VTK::System::Dec\n//VTK::Output::Dec\nin vec3 ip_vertexPos;\n"
        "uniform mat4 toClip;\nuniform sampler2D in_depthSampler;\n#define depth in_depthSampler\n"
        "vec2 place_() { vec4 p = toClip * vec4(ip_vertexPos, 1.0); return p.xy / p.w; }",
        {"RESULT": "gl_FragData[0]", "PLACE": "place_()", "KEPT": "1"},
    ),
}
"""Desktop OpenGL and WebGL 2 with a triangle over the picture, and VTK's volume mapper."""

VERTEX = """\
in vec2 corner;
out vec2 place_;
void main() { gl_Position = vec4(place_ = corner, 0.0, 1.0); }
"""
"""The vertex shader of the first two, behind their version line."""

_TEMPLATE = Path(__file__).parent / "march.glsl"


def fragment_source(defines: Mapping[str, int], dialect: str = "core") -> str:
    """Return the fragment shader.

    Parameters
    ----------
    defines : mapping
        Those of :class:`PackedModel` and :class:`PackedLook` together.
    dialect : {"core", "es", "vtk"}
        See :data:`DIALECTS`.
    """
    head, names = DIALECTS[dialect]
    lines = [*head.split("\n"), "#define OPAQUE(place) textureLod(depth, 0.5 * place + 0.5, 0.0).r"]
    lines += [f"#define {name} {value}" for name, value in {**defines, **names}.items()]
    text = _TEMPLATE.read_text().replace("%decoder%", _decoder(defines))
    width4, seen = defines["WIDTH4"], defines["SEEN"]
    for line in text.split("\n"):
        lines += _repeated(line, width4, seen)
    return "\n".join(lines) + "\n"


def _repeated(line: str, width4: int, seen: int) -> Iterator[str]:
    """Write a line that begins with $ or @ once for each component or quarter of the width."""
    marks = line.split("//")[0].lstrip()
    if marks.startswith("$"):
        for i in range(seen):
            yield from _repeated(line.replace("$", "", 1).replace("$", str(i)), width4, seen)
    elif marks.startswith("@"):
        text = line.replace("@", "", 1)
        for i in range(width4):
            yield text.replace("@", str(i))
    else:
        yield line


def _decoder(defines: Mapping[str, int]) -> str:
    """Return the functions `network` and `networkSlope`.

    Layers 1, 3, 5 add up input by input, and layers 2, 4 are used up output by output: so one layer
    of two is in registers at a time, and no index of a register is variable.
    """
    layers = defines["LAYERS"]
    kept = (layers + 1) // 2  # layers in registers, each behind a streamed one
    parts = [f"vec4 h{i}[WIDTH4];" for i in range(kept)]
    parts += [_streamed(i) for i in range(layers // 2)]
    forward = [_FIRST]
    for i in range(1, kept):
        forward += [_start(f"h{i}", 2 * i), _loop(_use(i)), f"  @ h{i}[@] = max(h{i}[@], 0.0);"]
    forward += ["  $ y[$] = RANGE($).z;"]
    if layers % 2:
        forward += [f"  $ @ y[$] += dot(W(base + LAST($) + @), h{kept - 1}[@]);"]
    else:
        use = f"    vec4 a = max(streamed{kept - 1}(j), 0.0);\n"
        forward += [_loop(use + "    $ y[$] += dot(W(base + LAST($) + j), a);")]
    parts += ["void network(vec3 p)\n{", *forward, "}"]
    if "SHADE" in defines:
        parts += ["#ifdef SHADE\nvec3 networkSlope(vec3 p)\n{", *_backward(layers, kept)]
        parts += [_LAST_SLOPE, "}\n#endif"]
    return "\n".join(parts)


def _backward(layers: int, kept: int) -> list[str]:
    top = kept - 1
    lines = [f"  vec4 back{i}[WIDTH4];" for i in range(kept)]
    lines += [f"  @ back{top}[@] = vec4(0.0);"]
    if layers % 2:
        lines += [f"  $ @ back{top}[@] += factor[$] * W(base + LAST($) + @);"]
    else:
        use = "    vec4 d = vec4(0.0);\n    $ d += factor[$] * W(base + LAST($) + j);\n"
        lines += [_loop(use + _returned(top))]
    lines += [
        f"  @ back{top}[@] = mix(vec4(0.0), back{top}[@], greaterThan(h{top}[@], vec4(0.0)));"
    ]
    for i in range(top - 1, -1, -1):
        use = f"    int m = base + LAYER{2 * i + 2}_AT + j * 4 * WIDTH4;\n    vec4 d = vec4(0.0);\n"
        for part, row in zip("xyzw", range(4)):
            use += f"    @ d.{part} += dot(W(m + {row} * WIDTH4 + @), back{i + 1}[@]);\n"
        lines += [f"  @ back{i}[@] = vec4(0.0);", _loop(use + _returned(i))]
        lines += [_answering(i)]
    return lines


def _answering(i: int) -> str:
    """Hand gradients on through those neurons of h_i alone that answer."""
    return f"  @ back{i}[@] = mix(vec4(0.0), back{i}[@], greaterThan(h{i}[@], vec4(0.0)));"


def _streamed(i: int) -> str:
    """Four outputs of the layer behind h_i, before its ReLU."""
    return (
        f"vec4 streamed{i}(int j)\n{{\n  int n = base + LAYER{2 * i + 1}_AT + j * 4 * WIDTH4;\n"
        f"  vec4 s = {_bias(2 * i + 1, 'j')};\n"
        f"  @ s += {_block('n')} * h{i}[@];\n  return s;\n}}"
    )


def _returned(i: int) -> str:
    """Add d, the gradient by four outputs of the layer behind h_i, to back_i."""
    return (
        f"    d = mix(vec4(0.0), d, greaterThan(streamed{i}(j), vec4(0.0)));\n"
        f"    int n = base + LAYER{2 * i + 1}_AT + j * 4 * WIDTH4;\n"
        f"    @ back{i}[@] += d * {_block('n')};"
    )


def _block(n: str) -> str:
    return f"mat4(W({n} + 4 * @), W({n} + 4 * @ + 1), W({n} + 4 * @ + 2), W({n} + 4 * @ + 3))"


def _bias(layer: int, at: str) -> str:
    return f"BIAS({layer}, {at})"


def _start(name: str, layer: int) -> str:
    return f"  @ {name}[@] = {_bias(layer, '@')};"


def _use(i: int) -> str:
    """Add four outputs of a streamed layer to h_i."""
    lines = [
        f"    vec4 a = max(streamed{i - 1}(j), 0.0);",
        f"    int n = base + LAYER{2 * i}_AT + j * 4 * WIDTH4;",
        f"    @ h{i}[@] += W(n + @) * a.x + W(n + WIDTH4 + @) * a.y;",
        f"    @ h{i}[@] += W(n + 2 * WIDTH4 + @) * a.z + W(n + 3 * WIDTH4 + @) * a.w;",
    ]
    return "\n".join(lines)


def _loop(body: str) -> str:
    return f"  for (int j = 0; j < WIDTH4; ++j)\n  {{\n{body}\n  }}"


_FIRST = """\
  @ h0[@] = BIAS(0, @);
#if TERMS > 0
  for (int i = 0; i < TERMS; ++i)
  {
    vec3 angle = 3.14159265358979 * exp2(float(i)) * p, s = sin(angle), c = cos(angle);
    int n = base + LAYER0_AT + 6 * i * WIDTH4;
    @ h0[@] += W(n + @) * s.x + W(n + WIDTH4 + @) * s.y + W(n + 2 * WIDTH4 + @) * s.z;
    @ h0[@] += W(n + 3 * WIDTH4 + @) * c.x + W(n + 4 * WIDTH4 + @) * c.y;
    @ h0[@] += W(n + 5 * WIDTH4 + @) * c.z;
  }
#endif
  for (int g = 0; g < GRIDS; ++g)
  {
    vec4 f = feature(g, p);
    int n = base + LAYER0_AT + (6 * TERMS + g * FEATURES) * WIDTH4;
    @ h0[@] += W(n + @) * f.x;
#if FEATURES > 1
    @ h0[@] += W(n + WIDTH4 + @) * f.y;
#endif
#if FEATURES > 2
    @ h0[@] += W(n + 2 * WIDTH4 + @) * f.z + W(n + 3 * WIDTH4 + @) * f.w;
#endif
  }
  @ h0[@] = max(h0[@], 0.0);"""

_LAST_SLOPE = """\
  vec3 total_ = vec3(0.0);
#if TERMS > 0
  for (int i = 0; i < TERMS; ++i)
  {
    float often = 3.14159265358979 * exp2(float(i));
    vec3 s = sin(often * p), c = cos(often * p), by = vec3(0.0), cy = vec3(0.0);
    int n = base + LAYER0_AT + 6 * i * WIDTH4;
    @ by.x += dot(W(n + @), back0[@]);
    @ by.y += dot(W(n + WIDTH4 + @), back0[@]);
    @ by.z += dot(W(n + 2 * WIDTH4 + @), back0[@]);
    @ cy.x += dot(W(n + 3 * WIDTH4 + @), back0[@]);
    @ cy.y += dot(W(n + 4 * WIDTH4 + @), back0[@]);
    @ cy.z += dot(W(n + 5 * WIDTH4 + @), back0[@]);
    total_ += often * (by * c - cy * s);
  }
#endif
  for (int g = 0; g < GRIDS; ++g)
  {
    int n = base + LAYER0_AT + (6 * TERMS + g * FEATURES) * WIDTH4;
    vec4 f = vec4(0.0);
    @ f.x += dot(W(n + @), back0[@]);
#if FEATURES > 1
    @ f.y += dot(W(n + WIDTH4 + @), back0[@]);
#endif
#if FEATURES > 2
    @ f.z += dot(W(n + 2 * WIDTH4 + @), back0[@]);
    @ f.w += dot(W(n + 3 * WIDTH4 + @), back0[@]);
#endif
    total_ += featureSlope(g, p, f);
  }
  return total_;"""
