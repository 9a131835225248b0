"""What benchmark scripts share: a small table and the same figures as JSON."""

import json
import platform


def show(title: str, figures: dict[str, object]) -> None:
    print(f"{title}  ({platform.processor() or platform.machine()}, Python {platform.python_version()})")
    for name, value in figures.items():
        print(f"  {name:<52} {value:.4g}" if isinstance(value, float) else f"  {name:<52} {value}")
    print(json.dumps({"benchmark": title, **figures}))
