"""The reward of a sequence classifier with one label."""

from transformers import AutoModelForSequenceClassification, AutoTokenizer

NAME = "FOLDER_OR_HUB_ID"
tokenizer = AutoTokenizer.from_pretrained(NAME)
model = AutoModelForSequenceClassification.from_pretrained(NAME).eval().requires_grad_(False)


def score(prompt: str, answers: list[str], row: dict) -> list[float]:
    """All answers of a row in one batch, each as a chat of two turns."""
    chats = [[{"role": "user", "content": prompt}, {"role": "assistant", "content": a}] for a in answers]
    batch = tokenizer.apply_chat_template(chats, return_tensors="pt", return_dict=True, padding=True)
    return model(**batch).logits[:, 0].tolist()
