"""What HTML pages share: templates, style, charts, thumbnails."""
