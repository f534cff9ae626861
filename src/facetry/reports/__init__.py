"""What all HTML pages share: templates, style, charts, thumbnails."""
