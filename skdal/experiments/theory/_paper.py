"""The paper's values of its verification experiments."""

PAPER_TAU = {"fig2": "strong agreement", "fig6": 0.46, "fig7": -0.253}
PAPER_DISCREPANCY = {
    "fig1": "MMD is much smaller than B",
    "fig9": "B is much larger than MMD",
}  # no numbers are given
PAPER_TABLE_10 = {
    (10, 100): 0.004999,
    (4, 250): 0.005253,
    (2, 500): 0.005367,
    (1, 1000): 0.005455,
}
