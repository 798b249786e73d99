"""The colour map of values: viridis, whose lightness grows evenly, for eyes that see no red too."""

# Seventeen colours of viridis (CC0, S. van der Walt and N. Smith, 2015), evenly spaced; between
# them is a straight line, nowhere off by more than 1.5 of 255.
_COLORS = (
    (0.2670, 0.0049, 0.3294),
    (0.2823, 0.0950, 0.4173),
    (0.2788, 0.1755, 0.4834),
    (0.2590, 0.2515, 0.5247),
    (0.2297, 0.3224, 0.5457),
    (0.1994, 0.3876, 0.5546),
    (0.1727, 0.4488, 0.5579),
    (0.1490, 0.5081, 0.5572),
    (0.1276, 0.5669, 0.5506),
    (0.1206, 0.6258, 0.5335),
    (0.1579, 0.6838, 0.5017),
    (0.2461, 0.7389, 0.4520),
    (0.3692, 0.7889, 0.3829),
    (0.5160, 0.8312, 0.2943),
    (0.6785, 0.8637, 0.1895),
    (0.8456, 0.8873, 0.0997),
    (0.9932, 0.9062, 0.1439),
)


def color_at(fraction: float) -> tuple[float, float, float]:
    """Colour of a fraction from 0 to 1: red, green and blue from 0 to 1; ends go on beyond.

    Examples
    --------
    >>> color_at(0.0), color_at(2)
    ((0.267, 0.0049, 0.3294), (0.9932, 0.9062, 0.1439))
    """
    place = min(max(fraction, 0.0), 1.0) * (len(_COLORS) - 1)
    low = min(int(place), len(_COLORS) - 2)
    share = place - low
    r, g, b = (a + (c - a) * share for a, c in zip(_COLORS[low], _COLORS[low + 1], strict=True))
    return r, g, b


def css_gradient() -> str:
    """The colour map as a gradient of CSS, from left to right."""
    stops = ", ".join(
        "rgb({:.0f} {:.0f} {:.0f})".format(*(255 * part for part in color)) for color in _COLORS
    )
    return f"linear-gradient(to right, {stops})"


def shader(low: float, high: float) -> str:
    """Shader of an image of values: NaN is hatched in grey, minus infinity is clear.

    Parameters
    ----------
    low, high
        Values of the ends of the colour map.
    """
    colors = ",\n  ".join(f"vec3({r}, {g}, {b})" for r, g, b in _COLORS)
    last = len(_COLORS) - 1
    scale = 1 / (high - low) if high > low else 0.0
    return f"""#uicontrol float opacity slider(min=0, max=1, default=1)
const vec3 COLORS[{len(_COLORS)}] = vec3[](
  {colors});
void main() {{
  float value = toRaw(getDataValue());
  uint bits = floatBitsToUint(value);
  if ((bits & 0x7f800000u) == 0x7f800000u) {{
    if ((bits & 0x007fffffu) == 0u) {{
      emitTransparent();
      return;
    }}
    bool stripe = mod(gl_FragCoord.x + gl_FragCoord.y, 8.0) < 4.0;
    emitRGBA(vec4(vec3(stripe ? 0.62 : 0.42), opacity));
    return;
  }}
  float place = clamp((value - ({low!r})) * {scale!r}, 0.0, 1.0) * {last}.0;
  int i = min(int(place), {last - 1});
  emitRGBA(vec4(mix(COLORS[i], COLORS[i + 1], place - float(i)), opacity));
}}
"""


def image_shader(low: float, high: float) -> str:
    """Shader of an image in grey, from black to white between two values that users can move."""
    return f"""#uicontrol invlerp normalized(range=[{low!r}, {high!r}])
void main() {{
  emitGrayscale(normalized());
}}
"""
