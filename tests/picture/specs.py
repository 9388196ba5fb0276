"""Small programs that the tests of pictures draw."""

from attndsl.language import load_text

SPECS = {
    "sliding": ("[n]", "causal and sliding(3)"),
    "power": ("[n]", "causal and (sinks(2) or power(3))"),
    "dense": ("[n]", "true"),
    "nothing": ("[n]", "j < 0"),
    "grid": ("[h, w]", "h: window(3) and w: window(5, 2)"),
    "dilated": ("[h, w]", "h: dilated_window(3, 2) and w: dilated_window(3, 2)"),
    "cross_shaped": ("[h, w]", "i.h == j.h or i.w == j.w"),
    "corner": ("[h, w]", "i.h == j.h and j.w <= i.w or i.w == j.w and j.h - i.h == 1"),
    "video": ("[t, h, w]", "t: causal_window(2) and h: window(3) and w: block(4)"),
    "heads": ("[n]", "causal and sliding((1, 4)[head % 2])"),
    "equal_heads": ("[n]", "sliding(2) and (head < 2 or i < 1000)"),
    "labels": ("[n]", "causal and document(label)"),
    "region": ("[h, w]", "label[i] == label[j] or label[j] == 0"),
}
SHAPES = {
    "[n]": ({"n": 1}, {"n": 23}, {"n": 64}),
    "[h, w]": ({"h": 6, "w": 6}, {"h": 7, "w": 11}),
    "[t, h, w]": ({"t": 2, "h": 4, "w": 5}, {"t": 3, "h": 5, "w": 9}),
}


def program(name):
    """The program of a spec."""
    tokens, where = SPECS[name]
    label = "input label : x int" if "label" in where else ""
    head = f"attention {name} {{ tokens x{tokens}; input q, k, v : x; {label}"
    return load_text(f"{head}\n return attend(q, k, v, where = {where}) }}")


def cases():
    """Every spec at every shape, but for windows that do not fit."""
    for name, (tokens, _) in SPECS.items():
        for sizes in SHAPES[tokens]:
            yield name, sizes
