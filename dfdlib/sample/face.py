"""A drawn portrait: an ellipsoid head with nose, brows and lips in relief, lit from one side, before a background.

Lengths are in half-widths of the face: u to the picture's right, v down, (0, 0) between the cheekbones. Colours are
reflectances in linear light, (red, green, blue).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from dfdlib.sample.exact import SIZE, Array, blur, chance, clouds, fall, grain, mix, smooth, uniform

Colour = tuple[float, float, float]
SKINS: tuple[Colour, ...] = (  # light to dark, as display values
    (0.96, 0.82, 0.74), (0.93, 0.76, 0.66), (0.86, 0.67, 0.54),
    (0.76, 0.56, 0.43), (0.60, 0.42, 0.31), (0.45, 0.31, 0.24),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (0.10, 0.08, 0.07), (0.22, 0.15, 0.11), (0.36, 0.24, 0.15),
    (0.55, 0.40, 0.24), (0.72, 0.58, 0.38), (0.62, 0.61, 0.60),
)  # fmt: skip
IRISES: tuple[Colour, ...] = (
    (0.25, 0.15, 0.09), (0.36, 0.24, 0.13), (0.30, 0.36, 0.24), (0.32, 0.45, 0.56), (0.40, 0.44, 0.46),
)  # fmt: skip


def linear(colour: Colour, gain: float = 1.0) -> Colour:
    """Display values to linear light (gamma 2)."""
    red, green, blue = colour
    return red * red * gain, green * green * gain, blue * blue * gain


def between(palette: tuple[Colour, ...], at: float) -> Colour:
    """The colour at `at` in [0, 1) along a palette."""
    place = at * (len(palette) - 1)
    index = min(int(place), len(palette) - 2)
    part = place - index
    a, b = palette[index], palette[index + 1]
    return tuple(p + (q - p) * part for p, q in zip(a, b, strict=True))  # type: ignore[return-value]


def any_colour(rng: np.random.Generator, low: float, high: float) -> Colour:
    """A random, not too saturated colour in linear light."""
    grey = uniform(rng, low, high)
    return linear(tuple(min(0.98, max(0.03, grey + uniform(rng, -0.11, 0.11))) for _ in range(3)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Pose:
    """Where the head is and how it is lit: what two renderings of one scene share."""

    x: float  # face centre, pixels
    y: float
    scale: float  # pixels per half-width
    cosine: float  # of the roll
    sine: float
    yaw: float  # parallax of the features
    pitch: float
    light: tuple[float, float, float]  # unit vector towards the lamp: right, down, to the viewer
    ambient: float
    warmth: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Pose:
        scale = uniform(rng, 51.0, 67.0)
        t = uniform(rng, -0.055, 0.055)
        lx, ly, lz = uniform(rng, -0.8, 0.8), uniform(rng, -0.8, -0.2), 1.0
        norm = float(np.sqrt(lx * lx + ly * ly + lz * lz))
        return cls(
            x=128.0 + uniform(rng, -16.0, 16.0),
            y=126.0 + uniform(rng, -12.0, 12.0),
            scale=scale,
            cosine=(1.0 - t * t) / (1.0 + t * t),
            sine=2.0 * t / (1.0 + t * t),
            yaw=uniform(rng, -0.2, 0.2),
            pitch=uniform(rng, -0.07, 0.07),
            light=(lx / norm, ly / norm, lz / norm),
            ambient=uniform(rng, 0.28, 0.5),
            warmth=uniform(rng, -0.06, 0.08),
        )

    def face_coordinates(self, rows: slice = slice(0, SIZE), columns: slice = slice(0, SIZE)) -> tuple[Array, Array]:
        """(u, v) of the pixels of a window, each of its shape."""
        x = (np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] - self.x) * (1.0 / self.scale)
        y = (np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - self.y) * (1.0 / self.scale)
        return x * self.cosine + y * self.sine, y * self.cosine - x * self.sine

    def window(self, u: float, v: float, half_u: float, half_v: float) -> tuple[slice, slice]:
        """The pixels within a box of the face, as slices of rows and columns clipped to the frame."""
        x = self.x + self.scale * (u * self.cosine - v * self.sine)
        y = self.y + self.scale * (v * self.cosine + u * self.sine)
        tilt = abs(self.sine)
        dx, dy = self.scale * (half_u + tilt * half_v), self.scale * (half_v + tilt * half_u)

        def clipped(low: float, high: float) -> slice:
            return slice(max(0, int(low)), min(SIZE, int(high) + 2))

        return clipped(y - dy, y + dy), clipped(x - dx, x + dx)


@dataclass(frozen=True)
class Person:
    """An identity: shapes and colours of the head and its parts."""

    skin: Colour
    hair: Colour
    iris: Colour
    lips: Colour
    jaw: float
    chin: float
    eye_apart: float
    eye_height: float
    eye_width: float
    eye_open: float
    brow_lift: float
    brow_arch: float
    brow_thick: float
    nose_width: float
    nose_tip: float
    nose_relief: float
    mouth_height: float
    mouth_width: float
    lip_full: float
    smile: float
    teeth: float
    hairline: float
    hair_arch: float
    hair_rough: float
    volume: float
    length: float
    parting: float
    beard: float
    freckles: float
    glasses: bool

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Person:
        skin_place = float(rng.random())
        skin = between(SKINS, skin_place)
        lips = (
            skin[0] * uniform(rng, 0.82, 0.95),
            skin[1] * uniform(rng, 0.55, 0.72),
            skin[2] * uniform(rng, 0.58, 0.8),
        )
        hair_place = float(rng.random())
        bearded, long_haired, toothy = chance(rng, 0.25), chance(rng, 0.5), chance(rng, 0.35)
        return cls(
            skin=linear(skin),
            hair=linear(between(HAIRS, hair_place * (1.0 if skin_place < 0.55 else 0.35))),
            iris=linear(between(IRISES, float(rng.random()))),
            lips=linear(lips),
            jaw=uniform(rng, 0.16, 0.34),
            chin=uniform(rng, 1.18, 1.34),
            eye_apart=uniform(rng, 0.38, 0.44),
            eye_height=uniform(rng, -0.17, -0.09),
            eye_width=uniform(rng, 0.18, 0.22),
            eye_open=uniform(rng, 0.075, 0.105),
            brow_lift=uniform(rng, 0.2, 0.27),
            brow_arch=uniform(rng, 0.02, 0.09),
            brow_thick=uniform(rng, 0.035, 0.065),
            nose_width=uniform(rng, 0.15, 0.22),
            nose_tip=uniform(rng, 0.3, 0.38),
            nose_relief=uniform(rng, 0.16, 0.26),
            mouth_height=uniform(rng, 0.64, 0.74),
            mouth_width=uniform(rng, 0.3, 0.42),
            lip_full=uniform(rng, 0.055, 0.095),
            smile=uniform(rng, 0.0, 0.11),
            teeth=uniform(rng, 0.03, 0.07) if toothy else 0.0,
            hairline=uniform(rng, -1.02, -0.68),
            hair_arch=uniform(rng, 0.2, 1.0),
            hair_rough=uniform(rng, 0.02, 0.12),
            volume=uniform(rng, 0.06, 0.24),
            length=uniform(rng, 0.9, 2.2) if long_haired and not bearded else uniform(rng, -0.3, 0.2),
            parting=uniform(rng, -0.5, 0.5),
            beard=uniform(rng, 0.25, 0.8) if bearded else 0.0,
            freckles=uniform(rng, 0.0, 0.5),
            glasses=chance(rng, 0.12),
        )


@dataclass(frozen=True)
class Textures:
    """Noise fields of one scene, shared by whatever is drawn into it; each (height, width)."""

    broad: Array
    middle: Array
    fine: Array
    pores: Array
    strands: Array
    locks: Array

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Textures:
        return cls(
            broad=clouds(rng, 5, 5),
            middle=clouds(rng, 18, 18),
            fine=clouds(rng, 64, 64),
            pores=blur(grain(rng, (SIZE, SIZE)), (0.5, 0.25)),
            strands=clouds(rng, 9, 150) * 0.6 + clouds(rng, 5, 80) * 0.4,
            locks=clouds(rng, 4, 22),
        )

    def window(self, rows: slice, columns: slice) -> Textures:
        """The same fields over a part of the frame."""
        return Textures(*(getattr(self, field.name)[rows, columns] for field in fields(self)))


def background(rng: np.random.Generator) -> Array:
    """A blurred room: a gradient, soft lights, a few upright and level edges, some texture. (3, SIZE, SIZE)."""
    x = np.arange(SIZE, dtype=np.float32)[None, :] * (1.0 / SIZE)
    y = np.arange(SIZE, dtype=np.float32)[:, None] * (1.0 / SIZE)
    first, second = any_colour(rng, 0.15, 0.85), any_colour(rng, 0.15, 0.85)
    slope = uniform(rng, -0.5, 0.5)
    ramp = smooth(y + slope * (x - 0.5) + clouds(rng, 3, 3) * 0.25, 0.0, 1.0)
    planes = np.stack([a + (b - a) * ramp for a, b in zip(first, second, strict=True)])
    softness = uniform(rng, 0.008, 0.06)
    for _ in range(int(rng.integers(2, 7))):  # furniture and light spots
        centre_x, centre_y = uniform(rng, 0.0, 1.0), uniform(rng, 0.0, 1.0)
        half_w, half_h = uniform(rng, 0.04, 0.25), uniform(rng, 0.04, 0.4)
        colour, round_one = any_colour(rng, 0.1, 0.95), chance(rng, 0.4)
        dx, dy = np.abs(x - centre_x) * (1.0 / half_w), np.abs(y - centre_y) * (1.0 / half_h)
        inside = 1.0 - (dx * dx + dy * dy) if round_one else 1.0 - np.maximum(dx, dy)
        reach = softness / min(half_w, half_h)
        mix(planes, smooth(inside, -reach, reach) * uniform(rng, 0.3, 0.9), colour)
    weave = clouds(rng, int(rng.integers(10, 90)), int(rng.integers(10, 90))) * uniform(rng, 0.0, 0.2)
    planes *= 1.0 + weave + clouds(rng, 7, 7) * 0.12
    return np.maximum(planes, 0.002)


def render(rng: np.random.Generator, pose: Pose, person: Person, backdrop: Array, textures: Textures) -> Array:
    """The scene in linear light, (3, SIZE, SIZE) float32; another person leaves the surroundings as they are."""
    planes = backdrop.copy()
    u, v = pose.face_coordinates()
    _hair_behind(planes, person, textures, u, v)
    _body(rng, planes, pose, person, textures)
    _ears(planes, pose, person)
    _head(planes, pose, person, textures)
    for side in (-1.0, 1.0):
        _eye(planes, pose, person, textures, side)
    if person.glasses:
        _glasses(planes, pose, person)
    _hair_in_front(planes, pose, person, textures)
    return planes


def parallax(pose: Pose, u: Array, v: Array) -> tuple[Array, Array]:
    """Face coordinates of the features on a turned head: nearer points shift more."""
    depth = 1.0 - 0.5 * np.minimum(u * u + 0.6 * v * v, 1.5)
    return u - pose.yaw * depth, v - pose.pitch * depth


def head_inside(person: Person, u: Array, v: Array) -> Array:
    """1 at the middle of the face, 0 on its outline, negative outside."""
    lower = np.clip(v, 0.0, 1.4)
    width = 1.0 - person.jaw * lower * lower
    across = u / width
    down = v * np.where(v > 0, np.float32(1.0 / person.chin), np.float32(1.0 / 1.36))
    return 1.0 - (across * across + down * down)


def face_oval(pose: Pose, person: Person, inset: float, softness: float) -> Array:
    """A soft mask of the inner face (brows to chin), for forgeries. (SIZE, SIZE) in [0, 1]."""
    u, v = parallax(pose, *pose.face_coordinates())
    inside = head_inside(person, u * 1.12, (v - 0.17) * 1.25)
    return smooth(inside, inset - softness, inset + softness)


def _strand_light(textures: Textures) -> Array:
    return 1.0 + 0.5 * textures.strands + 0.3 * textures.locks


def _hair_behind(planes: Array, person: Person, textures: Textures, u: Array, v: Array) -> None:
    width, top = 1.0 + person.volume, 1.36 + person.volume * 0.9
    across, down = u * (1.0 / width), (v + 0.02) * (1.0 / top)
    cap = smooth(1.0 - (across * across + down * down), 0.0, 0.07) * smooth(v, 0.35, 0.1)
    if person.length > 0.5:
        half = 1.04 + person.volume + 0.06 * textures.locks - 0.05 * v
        ends = smooth(v, person.length, person.length - 0.25) * smooth(v, -0.3, 0.1)
        curtain = smooth(half - np.abs(u), 0.0, 0.06) * ends
        cap = np.maximum(cap, curtain)
    light = _strand_light(textures) * 0.5
    mix(planes, cap, [tone * light for tone in person.hair])


def _body(rng: np.random.Generator, planes: Array, pose: Pose, person: Person, textures: Textures) -> None:
    rows, columns = slice(int(pose.y + 0.4 * pose.scale), SIZE), slice(0, SIZE)
    u, v = pose.face_coordinates(rows, columns)
    textures = textures.window(rows, columns)
    view, lx = planes[:, rows], pose.light[0]
    neck_half = uniform(rng, 0.5, 0.62)
    inside = neck_half - np.abs(u + pose.yaw * 0.2)
    roundness = (0.75 + 0.9 * lx * u) * smooth(v, 0.95, 1.9) * 0.6 + 0.22
    shade = np.clip(roundness, 0.05, 1.2) * smooth(inside, -0.1, 0.25)
    neck = smooth(inside + 0.12 * smooth(v, 1.2, 1.9), 0.0, 0.03) * smooth(v, 0.7, 0.75)
    mix(view, neck, [tone * shade for tone in person.skin])
    slope, collar, depth = uniform(rng, 0.25, 0.6), uniform(rng, 0.35, 0.7), uniform(rng, 0.3, 0.9)
    first, second = any_colour(rng, 0.1, 0.85), any_colour(rng, 0.1, 0.85)
    stripes, pattern = uniform(rng, 4.0, 16.0), max(0.0, uniform(rng, -0.7, 0.7))
    reach = uniform(rng, 1.7, 2.6)
    shoulders = v - 1.42 - slope * np.maximum(np.abs(u) - 0.4, 0.0) + 0.02 * textures.middle
    opening = np.maximum(collar - np.abs(u), 0.0) * depth
    cloth = smooth(shoulders - opening, 0.0, 0.03) * smooth(reach - np.abs(u), 0.0, 0.12)
    wave = (u + 0.35 * v) * stripes
    wave = wave - np.floor(wave)
    bars = smooth(wave, 0.35, 0.45) * smooth(wave, 0.95, 0.85) * pattern
    fold = np.clip(
        0.75 + 0.06 * textures.pores + 0.45 * lx * u + 0.25 * textures.broad + 0.12 * textures.middle, 0.08, 1.5
    )
    mix(view, cloth, [(a + (b - a) * bars) * fold for a, b in zip(first, second, strict=True)])


def _ears(planes: Array, pose: Pose, person: Person) -> None:
    for side in (-1.0, 1.0):
        rows, columns = pose.window(side * 1.0, 0.08, 0.25, 0.45)
        u, v = pose.face_coordinates(rows, columns)
        across, down = (u - side * (0.99 - side * pose.yaw * 0.3)) * (1.0 / 0.13), (v - 0.06) * (1.0 / 0.27)
        inside = 1.0 - (across * across + down * down)
        lit = 0.5 + 0.45 * max(0.0, side * pose.light[0])
        shade = lit * (0.55 + 0.45 * smooth(inside, 0.75, 0.1))
        view = planes[:, rows, columns]
        red, green, blue = person.skin
        mix(view, smooth(inside, 0.0, 0.25), [shade * red, shade * (0.86 * green), shade * (0.84 * blue)])


def _relief(person: Person, u: Array, v: Array) -> Array:
    """Height of nose, brow ridge, eye sockets, cheeks, lips and chin above the ellipsoid."""
    square = u * u
    along = smooth(v, person.eye_height - 0.12, person.nose_tip)
    width = person.nose_width * (0.42 + 0.38 * along)
    root = smooth(v, person.eye_height - 0.3, person.eye_height + 0.05)
    ridge = (0.25 * root + 0.75 * along * along) * smooth(v, person.nose_tip + 0.15, person.nose_tip - 0.04)
    height = person.nose_relief * ridge * fall(square / (width * width))
    down = v - person.nose_tip
    absolute = np.abs(u)
    wing = absolute - person.nose_width * 0.78
    height += 0.05 * fall(wing * wing * 190.0 + (down - 0.02) * (down - 0.02) * 160.0)
    socket, level = absolute - person.eye_apart, v - person.eye_height
    height -= 0.085 * fall(socket * socket * 14.0 + level * level * 30.0)
    brow = level + person.brow_lift
    height += 0.05 * fall(brow * brow * 60.0 + square * 1.5)
    cheek, low = absolute - 0.52, v - 0.28
    height += 0.05 * fall(cheek * cheek * 14.0 + low * low * 14.0)
    mouth = v - person.mouth_height
    for offset, gain in ((-0.05, 0.035), (0.06, 0.05)):
        lip = mouth - offset
        height += gain * fall(lip * lip * 380.0 + square * (2.0 / (person.mouth_width * person.mouth_width)))
    point = v - person.chin + 0.2
    height += 0.07 * fall(point * point * 30.0 + square * 14.0)
    return height


def _shading(pose: Pose, person: Person, u: Array, v: Array, relief: Array) -> tuple[Array, Array]:
    """(diffuse, specular) light on the head; relief by central differences, the ellipsoid in closed form."""
    nz = np.sqrt(np.maximum(head_inside(person, u * 0.97, v * 0.97), 0.03))
    slope_x, slope_y = np.zeros_like(relief), np.zeros_like(relief)
    slope_x[:, 1:-1] = (relief[:, 2:] - relief[:, :-2]) * (0.5 * pose.scale)
    slope_y[1:-1] = (relief[2:] - relief[:-2]) * (0.5 * pose.scale)
    nx, ny = u - pose.yaw * 0.4 - slope_x, v * 0.62 - slope_y
    length = np.sqrt(nx * nx + ny * ny + nz * nz)
    nx, ny, nz = nx / length, ny / length, nz / length
    lx, ly, lz = pose.light
    facing = nx * lx + ny * ly + nz * lz
    diffuse = np.maximum(facing * 0.82 + 0.18, 0.0)
    diffuse = (1.0 - pose.ambient) * diffuse * 1.15 + pose.ambient * (0.72 - 0.28 * ny)
    half = np.maximum(2.0 * facing * nz - lz, 0.0)  # mirror direction towards the viewer
    shine = half * half
    shine = shine * shine
    shine = shine * shine * shine
    return diffuse, shine


def _head(planes: Array, pose: Pose, person: Person, textures: Textures) -> None:
    rows, columns = pose.window(0.0, -0.02, 1.08, 1.42)
    u, v = pose.face_coordinates(rows, columns)
    fu, fv = parallax(pose, u, v)
    diffuse, shine = _shading(pose, person, u, v, _relief(person, fu, fv))
    textures = textures.window(rows, columns)
    pores, fine = textures.pores, textures.fine
    tone = 1.0 + 0.05 * textures.broad + 0.04 * textures.middle + 0.05 * fine + 0.035 * pores
    spots = smooth(fine + 0.6 * pores, 0.75, 1.2) * (person.freckles * 0.35) * smooth(np.abs(fv - 0.15), 0.5, 0.1)
    cheek, low = np.abs(fu) - 0.5, fv - 0.3
    blush = 0.14 * fall(cheek * cheek * 16.0 + low * low * 16.0) + 0.08 * fall(fu * fu * 40.0 + low * low * 30.0)
    skin = []
    for value, red_loss in zip(person.skin, (0.0, 1.0, 0.9), strict=True):
        skin.append(value * (tone - spots * (0.6 + 0.4 * red_loss)) * (1.0 - blush * red_loss))
    shadows = _shadows(person, fu, fv)
    _beard(skin, person, textures, fu, fv)
    _brows(skin, person, textures, fu, fv)
    _lips(skin, person, fine, fu, fv)
    light = diffuse * shadows
    gloss = shine * (0.16 + 0.04 * pores) * shadows
    view = planes[:, rows, columns]
    edge = smooth(head_inside(person, u, v), -0.6 / pose.scale, 2.6 / pose.scale)
    mix(view, edge, [value * light + gloss for value in skin])


def _shadows(person: Person, u: Array, v: Array) -> Array:
    """Light lost in the corners of the eyes, below nose and lip, along the folds of the cheeks."""
    absolute, square = np.abs(u), u * u
    level = v - person.eye_height
    corner = absolute - 0.2
    lost = 0.22 * fall(corner * corner * 80.0 + level * level * 40.0)
    socket = absolute - person.eye_apart
    lost += 0.2 * fall(socket * socket * 18.0 + (level + 0.02) * (level + 0.02) * 55.0)
    below = v - person.nose_tip - 0.15
    lost += 0.22 * fall(below * below * 220.0 + square * 30.0)
    nostril, down = absolute - person.nose_width * 0.5, v - person.nose_tip - 0.075
    lost += 0.6 * fall(nostril * nostril * 900.0 + down * down * 1500.0)
    lip = v - person.mouth_height - 0.2
    lost += 0.16 * fall(lip * lip * 110.0 + square * 14.0)
    fold = absolute - 0.24 - 0.35 * np.maximum(v - person.nose_tip, 0.0)
    stretch = smooth(v, person.nose_tip - 0.05, person.nose_tip + 0.1) * smooth(v, 0.75, 0.6)
    lost += 0.1 * fall(fold * fold * 500.0) * stretch
    return 1.0 - np.minimum(lost, 0.85)


def _beard(skin: list[Array], person: Person, textures: Textures, u: Array, v: Array) -> None:
    if not person.beard:
        return
    absolute = np.abs(u)
    jaw = smooth(v + 0.45 * absolute, 0.72, 0.95) * smooth(absolute, 1.05, 0.85)
    upper = smooth(v, person.nose_tip + 0.14, person.nose_tip + 0.2) * smooth(absolute, 0.42, 0.34)
    stubble = 0.75 + 0.35 * textures.pores + 0.2 * textures.fine
    mask = np.clip(np.maximum(jaw, upper) * stubble, 0.0, 1.0) * person.beard
    mix(skin, mask, [tone * 1.1 for tone in person.hair])


def _brows(skin: list[Array], person: Person, textures: Textures, u: Array, v: Array) -> None:
    across = (np.abs(u) - person.eye_apart - 0.01) * (1.0 / 0.27)
    square = np.minimum(across * across, 1.0)
    middle = person.eye_height - person.brow_lift + person.brow_arch * square
    thick = person.brow_thick * (1.0 - 0.75 * square)
    hairs = 0.85 + 0.3 * textures.strands + 0.15 * textures.pores
    mask = smooth(np.abs(v - middle) / (thick + 0.004), 1.25, 0.5) * smooth(np.abs(across), 1.1, 0.85) * hairs
    mix(skin, np.clip(mask, 0.0, 1.0) * 0.85, [tone * 0.75 for tone in person.hair])


def _lips(skin: list[Array], person: Person, fine: Array, u: Array, v: Array) -> None:
    across = u * (1.0 / person.mouth_width)
    square = across * across
    line = person.mouth_height - person.smile * (square - 0.3)
    taper = np.maximum(1.0 - square, 0.0)
    bow = 1.0 - 0.35 * fall(square * 30.0)
    gap = person.teeth * taper
    upper = (line - gap * 0.5) - v
    lower = v - (line + gap * 0.5)
    above = smooth(upper, -0.01, 0.01) * smooth(upper - person.lip_full * taper * bow, 0.018, -0.012)
    below = smooth(lower, -0.01, 0.01) * smooth(lower - person.lip_full * 1.25 * taper, 0.018, -0.012)
    width = smooth(np.abs(across), 1.04, 0.94)
    mask = np.maximum(above, below) * width * 0.85
    mix(skin, mask, [tone * (1.0 + 0.12 * fine) * (1.0 - 0.18 * above) for tone in person.lips])
    if person.teeth:
        mouth = smooth(gap * 0.5 - np.abs(v - line), -0.006, 0.012) * width
        mix(skin, mouth, (0.06, 0.02, 0.02))
        row = smooth(gap * 0.42 - np.abs(v - line + gap * 0.1), -0.004, 0.01) * smooth(np.abs(across), 0.85, 0.6)
        mix(skin, row * 0.9, (0.72, 0.68, 0.6))
    seam = v - line
    mix(skin, fall(seam * seam * 2600.0) * width * (0.25 if person.teeth else 0.75), (0.05, 0.015, 0.015))


def _eye(planes: Array, pose: Pose, person: Person, textures: Textures, side: float) -> None:
    rows, columns = pose.window(side * person.eye_apart + pose.yaw, person.eye_height + pose.pitch, 0.36, 0.26)
    u, v = parallax(pose, *pose.face_coordinates(rows, columns))
    view = planes[:, rows, columns]
    pixel = 1.0 / pose.scale
    x, y = (u - side * person.eye_apart), v - person.eye_height
    across = x * (1.0 / person.eye_width)
    square = across * across
    tilt = y + 0.02 * across * side
    lid = person.eye_open * (1.0 - square)
    opening = np.minimum(lid + tilt, lid * 0.8 - tilt)
    white = smooth(opening, -0.5 * pixel, 0.9 * pixel)
    shade = 0.62 - 0.25 * smooth(tilt, -0.01, -0.09) - 0.18 * square
    lit = 0.72 + 0.28 * max(0.0, side * pose.light[0])
    mix(view, white, [tone * shade * lit for tone in (0.92, 0.86, 0.84)])
    gaze_x, gaze_y = x - pose.yaw * 0.12, tilt + 0.008
    radius = np.sqrt(gaze_x * gaze_x + gaze_y * gaze_y)
    size = 0.088
    disc = smooth(radius, size + 0.6 * pixel, size - 0.6 * pixel) * white
    spokes = 0.55 + 0.5 * smooth(radius, 0.03, 0.08) + 0.3 * textures.window(rows, columns).fine
    mix(view, disc, [tone * spokes for tone in person.iris])
    mix(view, fall((radius - size) * (radius - size) * 4000.0) * white * 0.6, (0.02, 0.02, 0.02))
    mix(view, smooth(radius, 0.042, 0.03) * white, (0.006, 0.006, 0.006))
    spark_x, spark_y = gaze_x - 0.05 * pose.light[0], gaze_y + 0.035
    mix(view, smooth(spark_x * spark_x + spark_y * spark_y, 0.0007, 0.0002) * white * 0.9, (0.95, 0.95, 0.95))
    lash = tilt + lid  # the upper lid's rim: dark; the crease above it: a faint line
    rim = smooth(np.abs(across), 1.15, 0.95)
    mix(view, fall(lash * lash * 2200.0) * rim * 0.88, (0.02, 0.015, 0.012))
    low_rim = tilt - lid * 0.8
    mix(view, fall(low_rim * low_rim * 3500.0) * rim * 0.4, (0.12, 0.06, 0.05))
    crease = lash + 0.045
    dark = fall(crease * crease * 2500.0) * rim * 0.35
    view *= 1.0 - dark


def _glasses(planes: Array, pose: Pose, person: Person) -> None:
    rows, columns = pose.window(pose.yaw, person.eye_height + pose.pitch, 0.95, 0.36)
    u, v = parallax(pose, *pose.face_coordinates(rows, columns))
    x, y = np.abs(u) - person.eye_apart, v - person.eye_height - 0.02
    distance = np.sqrt(x * x + 1.5 * y * y)
    ring = distance - 0.3
    bridge = smooth(np.abs(u), 0.14, 0.12) * fall((y + 0.05) * (y + 0.05) * 3000.0)
    frame = np.maximum(fall(ring * ring * 3500.0), bridge)
    mix(planes[:, rows, columns], frame * 0.85, (0.02, 0.02, 0.025))


def _hair_in_front(planes: Array, pose: Pose, person: Person, textures: Textures) -> None:
    rows, columns = pose.window(0.0, -0.35, 1.3, 1.3)
    u, v = pose.face_coordinates(rows, columns)
    textures = textures.window(rows, columns)
    side = u - person.parting * 0.5
    line = person.hairline + person.hair_arch * side * side + 0.025 * textures.strands
    line += person.hair_rough * textures.locks
    width, top = 1.0 + person.volume * 0.75, 1.36 + person.volume * 0.8
    across, down = u * (1.0 / width), (v + 0.02) * (1.0 / top)
    cap = smooth(1.0 - (across * across + down * down), 0.0, 0.06)
    mask = smooth(line - v, -0.03, 0.05) * cap
    band = v + 1.05 - 0.25 * pose.light[0] * u
    gleam = fall(band * band * 14.0)
    light = 0.55 + 0.35 * np.clip(-v, 0.0, 1.0) + 0.3 * pose.light[0] * u + 0.5 * gleam
    light *= _strand_light(textures)
    mix(planes[:, rows, columns], mask * 0.97, [tone * np.maximum(light, 0.1) for tone in person.hair])
