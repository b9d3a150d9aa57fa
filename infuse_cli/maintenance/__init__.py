"""Doctor, support bundle, backup, restore, signed journal heads."""
