"""A drive that loses power: what is lost, and how its validity counts are made anew."""
