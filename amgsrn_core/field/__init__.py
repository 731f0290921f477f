"""Models as functions of space: bricks evaluated, blended and sampled."""
