"""The wear of a drive's flash: endurance, errors, levelling, retirement, life."""
