"""Make the embedded encoder and the demo shards from public pictures.

This room stands beside the labelling path: nothing in a labelling run imports it, and it may use Pillow, open_clip and
an SVG renderer directly, which the other rooms may not.
"""
